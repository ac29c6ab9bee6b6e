# Compile for glibc 2.17 of another or the same processor; Zig brings the headers, libc++ and the linker.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $ENV{C2T_ARCH})
set(CMAKE_CXX_COMPILER $ENV{C2T_ZIG} c++ -target $ENV{C2T_ARCH}-linux-gnu.2.17)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
