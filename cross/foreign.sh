# Sourced after platform.sh: the platform's programs run on this machine, by emulation.

foreign_handler=/proc/sys/fs/binfmt_misc/qemu-aarch64
foreign_registered=

# A handler that was not there before is taken away again.
run_foreign_programs() {
    [ "$machine" != "$(uname -m)" ] && [ ! -e "$foreign_handler" ] || return 0
    [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
        give_up "this kernel runs no foreign programs" "load binfmt_misc, or run this on an ARM machine" 2
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >/proc/sys/fs/binfmt_misc/register
    foreign_registered=yes
}

forget_foreign_programs() {
    [ -z "$foreign_registered" ] || echo -1 >"$foreign_handler"
    foreign_registered=
}
