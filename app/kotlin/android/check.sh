#!/usr/bin/env bash
# Links the library of Kotlin for 64 bit ARM Android without the NDK, and checks what Android's
# loader looks at: needed libraries, alignment, and that every name is one of those in the lists
# beside this script, which are Android's own. Needs Debian's gcc-aarch64-linux-gnu, and takes
# some minutes. Prints the sizes.
#
# What the NDK would do otherwise: its unwinder is LLVM's, here it is GCC's.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
source="$here/../../.."
target=aarch64-linux-android
rustup target add "$target"

stubs=$(mktemp -d)
trap 'rm -rf "$stubs"' EXIT
for list in "$here"/lib*.txt; do
    name=$(basename "$list" .txt)
    sed -n 's/^environ$/char *environ[1];/p; t; s/^\([a-z_].*\)$/void \1(void) {}/p' "$list" \
        >"$stubs/$name.c"
    aarch64-linux-gnu-gcc -w -fno-builtin -shared -nostdlib -Wl,-soname,"$name.so" \
        -o "$stubs/$name.so" "$stubs/$name.c"
done
: >"$stubs/empty.c"
aarch64-linux-gnu-gcc -shared -nostdlib -Wl,-soname,liblog.so -o "$stubs/liblog.so" "$stubs/empty.c"
# GCC's unwinder asks glibc first; where it gets nothing, it asks as it does on Android.
echo 'int _dl_find_object(void *pc, void *found) { return -1; }' >"$stubs/find.c"
aarch64-linux-gnu-gcc -w -O2 -c -o "$stubs/find.o" "$stubs/find.c"
aarch64-linux-gnu-ar rcs "$stubs/libfind.a" "$stubs/find.o"
echo 'INPUT(-lgcc_eh -lfind)' >"$stubs/libunwind.a"
cat >"$stubs/link" <<EOF
#!/bin/sh
exec aarch64-linux-gnu-gcc -L "$stubs" "\$@" -nostdlib -Wl,-z,max-page-size=16384 -Wl,-z,defs
EOF
chmod +x "$stubs/link"

export CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER="$stubs/link"
export CC_aarch64_linux_android=aarch64-linux-gnu-gcc AR_aarch64_linux_android=aarch64-linux-gnu-ar
cargo rustc --manifest-path "$source/Cargo.toml" -p atb-kotlin --profile app \
    --crate-type cdylib --target "$target"
library="${CARGO_TARGET_DIR:-$source/target}/$target/app/libautotinybert_jni.so"

fail() { echo "error: $1" >&2; exit 1; }
dynamic=$(aarch64-linux-gnu-readelf -dW "$library")
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic" | sort | tr '\n' ' ')
for name in $needed; do
    case "$name" in libc.so | libm.so | libdl.so | liblog.so) ;; *) fail "it needs $name" ;; esac
done
grep -q TEXTREL <<<"$dynamic" && fail "it has text relocations"
alignments=$(aarch64-linux-gnu-readelf -lW "$library" | awk '$1 == "LOAD" { print $NF }' | sort -u)
[ "$alignments" = 0x4000 ] || fail "its segments are aligned to $alignments, not to 16 KiB"
exported=$(aarch64-linux-gnu-readelf --dyn-syms -W "$library" |
    awk '$7 != "UND" && $5 == "GLOBAL" && $8 !~ /^Java_autotinybert_Native_/ { print $8 }')
[ -z "$exported" ] || fail "it exports $exported"
weak=$(aarch64-linux-gnu-readelf --dyn-syms -W "$library" |
    awk '$7 == "UND" && $5 == "WEAK" { print $8 }' | sort | tr '\n' ' ')
echo "needed:     $needed"
echo "used where it is there: $weak"
echo "segments:   aligned to 16 KiB"
echo "bytes:      $(stat -c %s "$library"), compressed $(gzip -9c "$library" | wc -c)"
