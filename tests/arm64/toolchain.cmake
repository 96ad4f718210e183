# arm64 binaries by Debian's cross compiler, with libraries from a folder of unpacked packages (DART_ARM64_ROOT in the
# environment).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(root $ENV{DART_ARM64_ROOT})
set(CMAKE_SYSROOT ${root})
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH ${root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
# what the alternatives of an installed system would lead to
set(libraries ${root}/usr/lib/aarch64-linux-gnu)
add_link_options(-Wl,-rpath-link,${libraries}/openblas-pthread:${libraries})
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${root})
set(ENV{PKG_CONFIG_LIBDIR} ${libraries}/pkgconfig:${libraries}/openblas-pthread/pkgconfig:${root}/usr/share/pkgconfig)
# how CTest starts what was built
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L ${root} -E LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/openblas-pthread:/usr/lib/aarch64-linux-gnu)
