//! A root, a gateway and pods with certificates, as `dmscctl pki` makes them.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519, SanType,
};

/// A root and what it issues.
pub struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
}

/// Certificate and key as PEM, and the raw public key.
pub struct Issued {
    pub cert: String,
    pub key: String,
    pub public: Vec<u8>,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            root: CertifiedIssuer::self_signed(params, key()).unwrap(),
        }
    }

    pub fn root(&self) -> String {
        self.root.pem()
    }

    pub fn gateway(&self) -> Issued {
        self.issue(&["gateway.dmsc.internal"], "spiffe://dmsc.test/node/1/sg")
    }

    /// Issues to a pod, and writes the folder that it is given.
    pub fn pod(&self, identity: &str, folder: &Path) -> Issued {
        let issued = self.issue(&[], &format!("spiffe://dmsc.test/pod/{identity}"));
        for (file, text) in [
            ("cert.pem", &issued.cert),
            ("key.pem", &issued.key),
            ("root.pem", &self.root()),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        issued
    }

    fn issue(&self, names: &[&str], id: &str) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .subject_alt_names
            .push(SanType::URI(id.try_into().unwrap()));
        let key = key();
        Issued {
            cert: params.signed_by(&key, &self.root).unwrap().pem(),
            key: key.serialize_pem(),
            public: key.public_key_raw().to_vec(),
        }
    }
}
