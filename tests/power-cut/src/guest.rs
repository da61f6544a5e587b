//! The emulated box: kernel and programs as an archive in memory, one virtio disk over NBD, what it says as text.
//! Emulated in software: the disk is the only thing that has to be real. Killed on drop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use kitchen_test_support::{repository, run, system, target};

/// The box's kernel, first program and modules; fetched at the first call.
///
/// # Panics
/// When it can't be fetched, with what to do about it.
#[must_use]
pub fn kernel_folder() -> PathBuf {
    let mut script = Command::new(repository().join("tests/power-cut/kernel.sh"));
    let finished = run(script.env("CARGO_TARGET_DIR", target())).expect_code(0);
    finished.stdout.trim_end().into()
}

/// What the box is started with, as files of its memory.
#[derive(Debug)]
pub struct Programs {
    root: PathBuf,
    kernel: PathBuf,
}

impl Programs {
    /// In the new folder `root`; `workload` is the shell script that the box runs once its disk is mounted on `/disk`.
    pub fn new(root: &Path, workload: &str) -> Result<Self> {
        let kernel = kernel_folder();
        for folder in ["bin", "dev", "proc", "sys", "tmp", "disk", "modules"] {
            fs::create_dir_all(root.join(folder)).context("making the box's folders")?;
        }
        let programs = Self { root: root.to_owned(), kernel };
        let init = repository().join("tests/power-cut/guest/init");
        programs.add(&init, "init")?;
        programs.add(&programs.kernel.join("busybox"), "bin/busybox")?;
        for entry in fs::read_dir(programs.kernel.join("modules")).context("listing the kernel's modules")? {
            let path = entry.context("listing the kernel's modules")?.path();
            programs.add(&path, &format!("modules/{}", file_name(&path)))?;
        }
        fs::write(root.join("workload"), workload).context("writing the workload")?;
        Ok(programs)
    }

    /// Copies the file `source` to `path` in the box, with its permissions.
    pub fn add(&self, source: &Path, path: &str) -> Result<()> {
        let there = self.root.join(path);
        let folder = there.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        fs::copy(source, &there).with_context(|| format!("copying {} into the box", source.display()))?;
        Ok(())
    }

    /// Copies a program without its symbols into `/bin`, and the shared libraries that it needs.
    pub fn add_program(&self, program: &Path) -> Result<()> {
        let path = format!("bin/{}", file_name(program));
        self.add(program, &path)?;
        let _ = run(Command::new(system("strip", "binutils")).arg(self.root.join(&path))).expect_code(0);
        self.add_libraries(program)
    }

    /// Compiles a C file of the repository into a library for `LD_PRELOAD`, `/lib/{its name}.so` in the box.
    pub fn add_preload(&self, source: &str) -> Result<()> {
        let folder = self.root.join("lib");
        fs::create_dir_all(&folder).context("making /lib")?;
        let library = kitchen_test_support::preload(source, &folder);
        self.add_libraries(&library)
    }

    fn add_libraries(&self, program: &Path) -> Result<()> {
        let listed = run(Command::new(system("ldd", "libc-bin")).arg(program)).expect_code(0);
        // `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, and the loader without an arrow.
        for library in listed.stdout.split_whitespace().filter(|word| word.starts_with('/')) {
            self.add(Path::new(library), library.trim_start_matches('/'))?;
        }
        Ok(())
    }

    /// Everything in one archive, as the kernel unpacks it.
    pub fn pack(&self, archive: &Path) -> Result<()> {
        let mut pack = Command::new("sh");
        pack.args(["-c", "find . | \"$0\" --create --format=newc --quiet"]).arg(system("cpio", "cpio"));
        pack.current_dir(&self.root);
        let archive = File::create(archive).context("making the box's archive")?;
        let status = pack.stdout(archive).status().context("running cpio")?;
        ensure!(status.success(), "cpio failed: {status}");
        Ok(())
    }

    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.kernel.join("vmlinuz")
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a box is made of besides its programs.
#[derive(Clone, Debug)]
pub struct Machine {
    pub memory_mb: u32,
    /// Variables for the box's first program, on the kernel's command line.
    pub variables: Vec<(String, String)>,
    /// Whether it has a network, on which this machine's loopback is 10.0.2.2.
    pub network: bool,
}

/// A running box.
#[derive(Debug)]
pub struct Guest {
    emulator: Child,
    console: Console,
    errors: PathBuf,
}

impl Guest {
    /// Starts it on the disk that is served at the socket `disk`; what it says and the emulator complains of goes into
    /// `folder`.
    pub fn start(kernel: &Path, archive: &Path, disk: &Path, machine: &Machine, folder: &Path) -> Result<Self> {
        let variables: Vec<String> = machine.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (console, errors) = (Console(folder.join("console.log")), folder.join("emulator.err"));
        let _ = fs::remove_file(&console.0);
        let mut command = Command::new(system("qemu-system-x86_64", "qemu-system-x86"));
        command
            .args(["-accel", "tcg", "-M", "q35", "-cpu", "max", "-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-m", &machine.memory_mb.to_string()])
            .arg("-serial")
            .arg(format!("file:{}", console.0.display()))
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(archive)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no_timer_check {}",
                variables.join(" ")
            ))
            .arg("-drive")
            .arg(format!("driver=nbd,server.type=unix,server.path={},if=none,id=disk,cache=writeback", disk.display()))
            // Not nvme: it offers writes through the cache to the guest, and QEMU 7.2 does not hand them on.
            .args(["-device", "virtio-blk-pci,drive=disk"]);
        if machine.network {
            command.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&errors).context("a file for the emulator's complaints")?);
        let emulator = command.spawn().context("starting qemu-system-x86_64")?;
        Ok(Self { emulator, console, errors })
    }

    #[must_use]
    pub fn console(&self) -> Console {
        self.console.clone()
    }

    /// Everything that it and its emulator have said, for when it fails.
    #[must_use]
    pub fn last_words(&self) -> String {
        format!("{}\n{}", self.console.text(), fs::read_to_string(&self.errors).unwrap_or_default())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// What the box says: a file that its emulator writes to at once, so that nothing is said and not yet heard.
#[derive(Clone, Debug)]
pub struct Console(PathBuf);

impl Console {
    /// The finished lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        let heard = fs::read(&self.0).unwrap_or_default();
        let end = heard.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        String::from_utf8_lossy(&heard[..end]).replace('\r', "")
    }
}
