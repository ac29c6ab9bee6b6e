// One kernel as a host library: C2T_SOURCE is the path of its source, C2T_KERNEL its name.
#include "cuda_emulation.h"
#include C2T_SOURCE

template <class... Arguments, std::size_t... I>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<Arguments>*>(arguments[I])...);
}
template <class... Arguments> void launch(const HostGrid& grid, void (*kernel)(Arguments...), void** arguments) {
    run_grid(grid, [&] { call(kernel, arguments, std::index_sequence_for<Arguments...>()); });
}

// `arguments`: addresses of the kernel's arguments, as cuLaunchKernel takes them. Returns what the kernel does wrong.
extern "C" const char* emulate(unsigned blocks, unsigned threads, unsigned shared_bytes, int together, int backwards,
                               void** arguments) {
    problem = nullptr;
    launch(HostGrid{blocks, threads, shared_bytes, together != 0, backwards != 0}, C2T_KERNEL, arguments);
    return problem;
}
