//! Keeping the memory of one step for the next.

/// Tells the C library's allocator to keep freed memory in this process instead of giving
/// it back to the system.
///
/// A training step frees and takes the same blocks of some megabytes that the step before
/// it did; by default each comes as pages from the system, cleared and newly mapped. It holds
/// for the whole process, so it is for programs that train, not for libraries. Allocators
/// other than glibc's are left as they are.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The most that glibc takes on all of its versions.
        const LARGEST_KEPT: libc::c_int = 32 << 20;
        // SAFETY: `mallopt` may be called at any time; it only changes the allocator's limits.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_KEPT);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}
