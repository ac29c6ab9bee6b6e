#!/usr/bin/env bash
# Make an aarch64 Python that runs on x86-64: bash packaging/wheels/emulated_python.sh FOLDER
#
# FOLDER/bin/python3 is then a script that starts Debian's Python in qemu-user. Programs that it starts are scripts of the
# same kind, so neither root's rights nor binfmt_misc are needed. Debian packages: mmdebstrap, qemu-user-static.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64)

# Only unpacked: nothing of it runs. libgomp and libstdc++ are what wheels may expect of a system.
[ -d "$folder/debian" ] || mmdebstrap --quiet --variant=extract --architectures=arm64 --skip=check/qemu \
    --include=python3.11-venv,python3-pip-whl,libgomp1,libstdc++6 bookworm "$folder/debian"

# qemu 7 shows this machine's /proc/cpuinfo, and ONNX Runtime crashes when it reads of an x86 processor there. Files in
# the unpacked system hide those of this machine.
mkdir -p "$folder/debian/proc" "$folder/bin"
for ((i = 0; i < $(nproc); i++)); do
    printf '%s\t: %s\n' processor $i BogoMIPS 50.00 \
        Features "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp" \
        "CPU implementer" 0x41 "CPU architecture" 8 "CPU variant" 0x3 "CPU part" 0xd0c "CPU revision" 1
    echo
done > "$folder/debian/proc/cpuinfo" # a Neoverse N1, as below

# A virtual environment links to this script; by its name Python finds that environment.
cat > "$folder/bin/python3" <<END
#!/bin/sh
exec $qemu -cpu neoverse-n1 -L $folder/debian -0 "\$0" $folder/debian/usr/bin/python3.11 "\$@"
END
chmod +x "$folder/bin/python3"
"$folder/bin/python3" -c 'import platform; print("Python", platform.python_version(), platform.machine())'
