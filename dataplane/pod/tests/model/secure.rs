//! Pods with credentials: TLS both ways, and a proof in every registration.

use std::time::Duration;

use dmsc_pod::{Pod, PodConfig, PodError};
use dmsc_wire::NameBuf;

use crate::gateway::{Gateway, WAITING};
use crate::pki::Pki;

fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).unwrap()
}

#[tokio::test]
async fn a_pod_proves_who_it_is_and_again_before_the_proof_is_old() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let issued = pki.pod("pod1/a", folder.path());
    let gateway = Gateway::start_secure(&pki, &issued.public).await;
    let mut config = PodConfig::new(gateway.registrar().into(), "pod1/a");
    config.credentials = Some(folder.path().to_path_buf());
    config.proof_interval = Duration::from_millis(50);
    config.prefixes = ["/shop/a", WAITING, "/other"].map(name).to_vec();
    let pod = Pod::connect(config).await.unwrap();
    let registered = pod.registered();
    assert_eq!(registered.refused[0].name, name("/other"));
    assert_eq!(registered.waiting[0].name, name(WAITING));
    assert_eq!(registered.waiting[0].reason, "no authority answers");
    assert!(
        registered.serves.contains(&name(WAITING)),
        "it is answered as soon as it is announced"
    );
    gateway.registered(3).await;
    assert_eq!(
        gateway.proofs(),
        gateway.registrations(),
        "each with a nonce of its own"
    );
    pod.close().await.unwrap();
    assert_eq!(gateway.attached(), 0);
}

#[tokio::test]
async fn credentials_of_others_and_none_are_refused() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let issued = pki.pod("pod1/a", folder.path());
    let gateway = Gateway::start_secure(&pki, &issued.public).await;
    let config = |credentials: Option<&std::path::Path>| {
        let mut config = PodConfig::new(gateway.registrar().into(), "pod1/a");
        config.credentials = credentials.map(Into::into);
        config.patience = Duration::ZERO;
        config
    };
    // No certificate, one of another root, and a key that is not the certificate's.
    let error = Pod::connect(config(None)).await.unwrap_err();
    assert!(matches!(error, PodError::Away { .. }), "{error}");
    let foreign = tempfile::tempdir().unwrap();
    Pki::new().pod("pod1/a", foreign.path());
    let error = Pod::connect(config(Some(foreign.path())))
        .await
        .unwrap_err();
    assert!(matches!(error, PodError::Away { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let other = tempfile::tempdir().unwrap();
    pki.pod("pod1/b", other.path());
    let error = Pod::connect(config(Some(other.path()))).await.unwrap_err();
    assert!(matches!(error, PodError::Refused { .. }), "{error}");
    assert_eq!(gateway.attached(), 0);

    // Files that are missing or something else are told by name, and are not tried again.
    let file = |folder: &std::path::Path, name: &str| folder.join(name).display().to_string();
    std::fs::copy(
        foreign.path().join("root.pem"),
        foreign.path().join("key.pem"),
    )
    .unwrap();
    let error = Pod::connect(config(Some(foreign.path())))
        .await
        .unwrap_err();
    assert!(!error.is_temporary(), "{error}");
    assert!(
        error.to_string().contains(&file(foreign.path(), "key.pem")),
        "{error}"
    );
    std::fs::remove_file(other.path().join("root.pem")).unwrap();
    let error = Pod::connect(config(Some(other.path()))).await.unwrap_err();
    assert!(
        error.to_string().contains(&file(other.path(), "root.pem")),
        "{error}"
    );
}

#[tokio::test]
async fn a_static_registrar_says_that_it_knows_no_certificates() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    pki.pod("pod1/a", folder.path());
    let gateway = Gateway::start().await;
    let mut config = PodConfig::new(gateway.registrar().into(), "pod1/a");
    config.credentials = Some(folder.path().to_path_buf());
    config.patience = Duration::ZERO;
    // It speaks plain TCP, so nothing is sent to it in the clear.
    let error = Pod::connect(config).await.unwrap_err();
    assert!(matches!(error, PodError::Away { .. }), "{error}");
    assert_eq!(gateway.registrations(), 0);
}
