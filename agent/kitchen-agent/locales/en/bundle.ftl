# `kitchen-agent bundle`.
bundle-unwritable = can't write { $path } ({ $error }): choose another place, e.g. --out /tmp/bundle.tar.gz
bundle-written = { $path }, { $kilobytes } KB: send this file; passwords and keys are removed, pictures are not in it
