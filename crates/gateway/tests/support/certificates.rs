//! Certificates for `localhost`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Makes a certificate for `localhost`, `NAME.crt`, its key, `NAME.key`, and an authority that signed
/// it. Gives the file of the authority.
pub fn certify(dir: &Path, name: &str) -> PathBuf {
    let openssl = |arguments: &str| {
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl").success(), "openssl {arguments}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!("req -x509 {key} -subj /CN={name}-authority -keyout {name}-ca.key -out {name}-ca.crt"));
    openssl(&format!(
        "req -x509 {key} -subj /CN=localhost -addext subjectAltName=DNS:localhost \
         -addext basicConstraints=critical,CA:FALSE -CA {name}-ca.crt -CAkey {name}-ca.key \
         -keyout {name}.key -out {name}.crt"
    ));
    dir.join(format!("{name}-ca.crt"))
}
