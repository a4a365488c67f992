//! Loops compiled for several vector extensions, of which the program takes the best that
//! the processor has.

/// Defines functions over slices several times: once for the compiler's baseline, and on
/// x86-64 for AVX2 and for AVX-512. On other processors the baseline has what there is (on
/// aarch64 NEON).
///
/// The results are the same to the last bit: the operations and their order are, and none
/// are contracted.
macro_rules! vectorised {
    ($(
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        $body:block
    )*) => {$(
        $(#[$meta])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }

                use std::arch::is_x86_feature_detected as has;
                if has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq") {
                    // SAFETY: the processor has the extensions; those that have AVX-512 have
                    // AVX2 and FMA.
                    return unsafe { avx512($($argument),*) };
                }
                if has!("avx2") && has!("fma") {
                    // SAFETY: the processor has the extensions.
                    return unsafe { avx2($($argument),*) };
                }
            }
            body($($argument),*)
        }
    )*};
}

pub(crate) use vectorised;
