//! A guest made of a static busybox, and builds in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base::{Arch, Digest, Epoch, Event, Reporter};
use polpo_build::executor::{BuildOutput, ExecuteError, LocalExecutor};
use polpo_build::guest::{GuestError, Layers};
use polpo_build::plan::{BuildPlan, FORMAT, Limits, Network, PlannedStep, WORKSPACE, environment};
use polpo_build::recipe::{Accounts, CapabilityChange};
use polpo_build::recording::Recording;
use polpo_build::sandbox::{Acceleration, Bind, InitProgram, MachineOptions, Runner, RunnerKind};
use polpo_build::signing::SignerProgram;
use store::Store;
use tempfile::TempDir;

/// A store with a guest, and the plan of a build in it.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) executor: LocalExecutor,
    pub(crate) layers: Layers,
    pub(crate) plan: BuildPlan,
    pub(crate) lines: Lines,
}

/// Keeps the lines that steps print.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Reporter for Lines {
    fn report(&self, event: Event<'_>) {
        if let Event::Output { line, .. } = event {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }
}

impl Lines {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// The program that becomes the sandbox.
pub(crate) fn init_program() -> InitProgram {
    InitProgram {
        program: std::env::var_os("POLPO_TEST_INIT")
            .map_or_else(|| env!("CARGO_BIN_EXE_sandbox-init").into(), PathBuf::from),
        arguments: Vec::new(),
    }
}

/// The program that becomes the signer.
pub(crate) fn signer_program() -> SignerProgram {
    let InitProgram { program, arguments } = init_program();
    SignerProgram {
        program,
        arguments,
        user: None,
    }
}

/// The kernel that `scripts/install test` unpacks, with its modules.
pub(crate) fn kernel() -> PathBuf {
    let named = std::env::var_os("POLPO_TEST_KERNEL").map(PathBuf::from);
    named.unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kernel/boot/vmlinuz")
    })
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(&[])
    }

    /// A bench whose guest has further trees upon busybox, each a list of `path` and text; a text
    /// of the form `-> target` makes a link.
    pub(crate) fn with(trees: &[&[(&str, &str)]]) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let mut stack = vec![busybox(&store)];
        for (number, files) in trees.iter().enumerate() {
            let key = Digest::of(format!("{number} {files:?}").as_bytes());
            let path = store
                .tree::<GuestError>(&key, |tree| {
                    for (path, text) in *files {
                        let path = tree.join(path);
                        fs::create_dir_all(path.parent().unwrap()).unwrap();
                        match text.strip_prefix("-> ") {
                            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                            None => fs::write(path, text).unwrap(),
                        }
                    }
                    Ok(())
                })
                .unwrap();
            stack.push((key, path));
        }
        let layers = Layers::stack(&store, &stack, &Accounts::default()).unwrap();
        let executor = LocalExecutor::new(store, init_program())
            .expect("bubblewrap must be installed for these tests");
        Bench {
            folder,
            executor,
            layers,
            plan: BuildPlan {
                format: FORMAT,
                arch: Arch::host(),
                epoch: Epoch(1),
                guest: Vec::new(),
                accounts: Accounts::default(),
                capabilities: CapabilityChange::default(),
                files: Vec::new(),
                links: BTreeMap::new(),
                folders: Vec::new(),
                sources: Vec::new(),
                steps: Vec::new(),
                environment: environment(&BTreeMap::new(), Some(Epoch(1))),
                limits: Limits::default(),
                network: Network::Denied,
                recording: Recording::default(),
                packages: vec!["hello".to_owned()],
            },
            lines: Lines::default(),
        }
    }

    pub(crate) fn init(&self) -> InitProgram {
        init_program()
    }

    /// Starts sandboxes by another program.
    pub(crate) fn use_init(&mut self, init: InitProgram) {
        let store = self.executor.store().clone();
        let guest = self.executor.guest;
        self.executor = LocalExecutor::new(store, init).unwrap();
        self.executor.guest = guest;
    }

    /// Runs steps in another way.
    pub(crate) fn use_runner(&mut self, kind: RunnerKind) {
        let machine = MachineOptions {
            kernel: Some(kernel()),
            modules: None,
            acceleration: Some(Acceleration::Tcg),
        };
        let runner = Runner::find(kind, &machine);
        let runner = runner.expect("every runner must be installed for these tests");
        let other = LocalExecutor::with_runner(self.store().clone(), init_program(), runner);
        let executor = std::mem::replace(&mut self.executor, other);
        self.executor.guest = executor.guest;
        self.executor.binds = executor.binds;
        self.executor.recorder = executor.recorder;
        self.executor.debug = executor.debug;
    }

    /// Moves to the store in `folder`.
    pub(crate) fn use_store(&mut self, folder: &Path) {
        let store = Store::open(folder).unwrap();
        let stack = [busybox(&store)];
        self.layers = Layers::stack(&store, &stack, &Accounts::default()).unwrap();
        self.executor = LocalExecutor::new(store, init_program()).unwrap();
    }

    pub(crate) fn store(&self) -> &Store {
        self.executor.store()
    }

    pub(crate) fn step(&mut self, script: &str) -> &mut PlannedStep {
        let name = format!("step {}", self.plan.steps.len() + 1);
        self.plan.steps.push(PlannedStep::Run {
            name,
            script: script.to_owned(),
            working_directory: WORKSPACE.to_owned(),
            environment: BTreeMap::new(),
        });
        self.plan.steps.last_mut().unwrap()
    }

    /// Carries the plan out and forgets its steps.
    pub(crate) fn build(&mut self) -> Result<BuildOutput, ExecuteError> {
        self.lines = Lines::default();
        let result = runtime().block_on(self.executor.execute_upon(
            self.layers.clone(),
            &self.plan,
            "hello",
            &self.lines,
        ));
        self.plan.steps.clear();
        result
    }

    /// Runs one script that must end well; what it printed.
    pub(crate) fn run(&mut self, script: &str) -> String {
        self.step(script);
        if let Err(error) = self.build() {
            panic!("{error}");
        }
        self.lines.text()
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn busybox(store: &Store) -> (Digest, PathBuf) {
    let key = Digest::of(b"busybox");
    let path = store
        .tree::<GuestError>(&key, |tree| {
            busybox_tree(tree);
            Ok(())
        })
        .unwrap();
    (key, path)
}

/// Fills a folder with a static busybox and links to it.
pub(crate) fn busybox_tree(tree: &Path) {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.is_file())
        .expect("a static busybox must be installed for these tests");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy(program, tree.join("bin/busybox")).unwrap();
    let output = std::process::Command::new(program)
        .arg("--list")
        .output()
        .unwrap();
    for name in String::from_utf8(output.stdout).unwrap().lines() {
        if name != "busybox" {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
    }
}

/// Every path beneath `folder` with its mode, contents or target, sorted.
pub(crate) fn listing(folder: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let mut lines = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let contents = if metadata.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            String::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            Digest::of(&fs::read(&path).unwrap()).to_string()
        };
        let name = path.strip_prefix(folder).unwrap().display();
        lines.push(format!("{name} {:o} {contents}", metadata.mode()));
    }
    lines.sort();
    lines.join("\n")
}

impl Bench {
    /// A bench whose steps find the programs of this machine, but for its shell.
    pub(crate) fn with_host_programs() -> Bench {
        let mut bench = Bench::new();
        for folder in ["/usr", "/lib", "/lib64", "/etc/alternatives"] {
            bench.see(folder, folder);
        }
        bench
    }

    /// Lets steps see a file or folder of this machine, if there is one.
    pub(crate) fn see(&mut self, source: impl Into<PathBuf>, target: &str) {
        let source = source.into();
        if source.exists() {
            self.executor.binds.push(Bind {
                source,
                target: target.to_owned(),
                writable: false,
            });
        }
    }
}
