//! What `make demo` makes, made once for all tests: keys, seed, packages and a signed image.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use testkit::{Program, Registry};

/// The recipes that are built, in order.
pub(crate) const RECIPES: [&str; 4] = ["baselayout", "hello", "zlib", "busybox"];

/// A folder in which the whole road was walked.
pub(crate) struct World {
    folder: PathBuf,
}

/// The root of the checkout.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

pub(crate) fn recipe(name: &str) -> PathBuf {
    checkout().join(format!("os/packages/{name}.yaml"))
}

/// polpo with a store of its own and an environment that nothing of the user's reaches.
pub(crate) fn polpo(store: &Path) -> Program {
    Program::new(env!("CARGO_BIN_EXE_polpo"))
        .env("POLPO_STORE", store)
        .env("POLPO_PROGRESS", "lines")
        .env("NO_COLOR", "1")
}

/// polpo for somebody who has this folder and nothing else: a store, a home and the files in it.
pub(crate) fn polpo_in(folder: &Path, words: &[&str]) -> Program {
    let mut program = polpo(&folder.join("store"))
        .args(words)
        .env("HOME", folder.join("home"))
        .folder(folder);
    for name in [
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "SOURCE_DATE_EPOCH",
    ] {
        program.command().env_remove(name);
    }
    program
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("world");
        let world = World { folder };
        world.make();
        world
    })
}

impl World {
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The folder of public keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    pub(crate) fn signing_key(&self) -> PathBuf {
        self.keys().join("test.rsa")
    }

    pub(crate) fn image_key(&self) -> PathBuf {
        self.folder.join("image.pem")
    }

    pub(crate) fn image_public_key(&self) -> PathBuf {
        self.folder.join("image.pem.pub")
    }

    pub(crate) fn seed(&self) -> PathBuf {
        self.folder.join("seed")
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    /// The image's OCI layout.
    pub(crate) fn layout(&self) -> PathBuf {
        self.folder.join("hello")
    }

    pub(crate) fn polpo(&self) -> Program {
        polpo(&self.store())
    }

    /// `polpo build` of these recipes, for `out_dir`.
    pub(crate) fn build(&self, store: &Path, recipes: &[&str], out_dir: &Path) -> Program {
        polpo(store)
            .arg("build")
            .args(recipes.iter().map(|name| recipe(name)))
            .arg("-r")
            .arg(self.seed())
            .arg("-k")
            .arg(self.keys())
            .args(["--source-mirror", "apt:trixie", "--signing-key"])
            .arg(self.signing_key())
            .arg("--out-dir")
            .arg(out_dir)
    }

    /// `polpo image build` of the hello image, for `output`.
    pub(crate) fn image(&self, store: &Path, packages: &Path, output: &Path) -> Program {
        polpo(store)
            .args(["image", "build"])
            .arg(checkout().join("os/images/hello.yaml"))
            .arg("hello:latest")
            .arg(output)
            .arg("-r")
            .arg(packages)
            .arg("-r")
            .arg(self.seed())
            .arg("-k")
            .arg(self.keys())
    }

    pub(crate) fn verify(&self, layout: &Path) -> Program {
        self.polpo()
            .arg("verify")
            .arg(layout)
            .arg("--key")
            .arg(self.image_public_key())
            .arg("-r")
            .arg(self.packages())
            .arg("-r")
            .arg(self.seed())
            .arg("-k")
            .arg(self.keys())
    }

    /// The image, without what refers to it, in a registry under a name of its own; by digest.
    pub(crate) fn push(&self, registry: &Registry, name: &str) -> String {
        let reference = registry.name(&format!("{name}:v1"));
        self.polpo()
            .args(["image", "copy"])
            .arg(format!("oci:{}:latest", self.layout().display()))
            .args([&reference, "--without-referrers"])
            .run()
            .success();
        let found = Program::new("skopeo")
            .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
            .arg(format!("docker://{reference}"))
            .run()
            .success();
        format!("{}@{}", registry.name(name), found.stdout.trim())
    }

    fn make(&self) {
        // The store may stay from an earlier run: what is in it is addressed by content.
        for made in [self.seed(), self.packages(), self.layout()] {
            if made.exists() {
                fs::remove_dir_all(made).unwrap();
            }
        }
        fs::create_dir_all(self.keys()).unwrap();
        self.polpo()
            .args(["key", "generate", "--keep"])
            .arg(self.signing_key())
            .run()
            .success();
        self.polpo()
            .args(["key", "generate", "--keep", "--type", "ecdsa-p256"])
            .arg(self.image_key())
            .run()
            .success();
        self.polpo()
            .args(["source", "import"])
            .arg(checkout().join("os/bootstrap/seed.lock.yaml"))
            .arg("--out-dir")
            .arg(self.seed())
            .arg("--signing-key")
            .arg(self.signing_key())
            .run()
            .success();
        self.build(&self.store(), &RECIPES, &self.packages())
            .run()
            .success();
        self.image(&self.store(), &self.packages(), &self.layout())
            .run()
            .success();
        self.polpo()
            .arg("sign")
            .arg(self.layout())
            .arg("--key")
            .arg(self.image_key())
            .run()
            .success();
    }
}
