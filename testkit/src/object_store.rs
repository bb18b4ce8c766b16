use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;

/// An object store that speaks S3, on a free port of this machine. Each folder of its root is a
/// bucket. It refuses who does not sign with [`ObjectStore::ACCESS_KEY`].
#[derive(Debug)]
pub struct ObjectStore {
    url: String,
}

impl ObjectStore {
    /// The id of the one key.
    pub const ACCESS_KEY: &str = "octopus";

    /// The secret of the one key.
    pub const SECRET_KEY: &str = "eight-arms-secret";

    /// Serves the folders below `root`, until the process ends.
    ///
    /// # Panics
    /// When the folder can't be read or no port can be had.
    pub fn of(root: &Path) -> ObjectStore {
        let mut service = S3ServiceBuilder::new(FileSystem::new(root).expect("a folder"));
        service.set_auth(SimpleAuth::from_single(
            ObjectStore::ACCESS_KEY,
            ObjectStore::SECRET_KEY,
        ));
        let service = service.build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                let local = tokio::task::LocalSet::new();
                local
                    .run_until(async move {
                        while let Ok((socket, _)) = listener.accept().await {
                            let service = service.clone();
                            tokio::task::spawn_local(async move {
                                // A client that goes away is what some tests are about.
                                let _ = Builder::new(TokioExecutor::new())
                                    .serve_connection(TokioIo::new(socket), service)
                                    .await;
                            });
                        }
                    })
                    .await;
            });
        });
        ObjectStore { url }
    }

    /// Where it listens: what `AWS_ENDPOINT_URL` is to be.
    pub fn url(&self) -> &str {
        &self.url
    }
}
