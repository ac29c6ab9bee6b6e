# Cross-compile the kernels for 64-bit Arm Linux with Debian's g++-aarch64-linux-gnu:
# cmake -S kernels -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=aarch64-linux-gnu.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
