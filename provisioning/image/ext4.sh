# Sourced by the scripts beside it, after cross/platform.sh: ext4 without mounting it. Where a file system is named, it
# may be a part of a card's image: IMAGE?offset=BYTES. Expects SOURCE_DATE_EPOCH, the only time in what is written.

# e2fsprogs takes the clock of everything it does from here.
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH

# edit FILE_SYSTEM: runs debugfs's commands from standard input. It exits 0 whatever happens: any message is a failure.
edit() {
    local messages
    messages=$(debugfs -w -f /dev/stdin "$1" 2>&1 >/dev/null | grep -v '^debugfs [0-9]') || true
    [ -z "$messages" ] ||
        give_up "could not write to $1: $messages" "check the free space on this machine, and run it again"
}

# show FILE_SYSTEM PATH: a file's content; nothing when it is not there, or is itself a symbolic link.
show() {
    debugfs -R "cat \"$2\"" "$1" 2>/dev/null
}

# field FILE_SYSTEM NAME: from the superblock.
field() {
    dumpe2fs -h "$1" 2>/dev/null | sed -n "s/^$2: *//p"
}

# clean FILE_SYSTEM: whether e2fsck finds nothing at all.
clean() {
    e2fsck -fn "$1" >"$work/e2fsck.log" 2>&1
}

# make_ext4 FILE SIZE_MIB LABEL UUID TREE [OPTION…]: TREE with owners and modes as they are and all times the epoch.
# mke2fs sorts names by itself, but takes the times of change and access from this machine.
make_ext4() {
    local file=$1 size_mib=$2 label=$3 uuid=$4 tree=$5 kind
    shift 5
    rm -f "$file"
    truncate -s "${size_mib}M" "$file"
    MKE2FS_CONFIG=$here/mke2fs.conf mke2fs -q -F -t ext4 -L "$label" -U "$uuid" \
        -E "hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0" "$@" -d "$tree" "$file" >&2
    for kind in atime ctime mtime; do
        find "$tree" -printf "set_inode_field \"/%P\" $kind @$SOURCE_DATE_EPOCH\n"
    done | edit "$file"
    clean "$file" || give_up "the new file system $label has errors: see $work/e2fsck.log" \
        "check the free space on this machine, and run it again"
}
