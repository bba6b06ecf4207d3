//! Goal: the promises of the data path on real mounts, with two real engines, one module, no
//! daemon. Each test says which promise.
#![allow(clippy::unwrap_used)]
#[path = "support/pair.rs"]
mod pair;

use lockstep::model::Level;
use pair::Pair;

#[test]
fn what_is_written_is_on_both_copies() {
    let pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display();
    pair.n1.run(&format!(
        "cd {dir} && echo hello > a && mkdir -p d/e && cp a d/e/b && ln -s a link && ln a hard && \
         mkfifo pipe && setfattr -n user.k -v v a && chmod 640 a && mv d/e/b d/c && rm -f hard && \
         dd if=/dev/urandom of=big bs=1M count=8 status=none && truncate -s 3M big && sync big"
    ));
    pair.assert_equal();
    assert_eq!(pair.n1.run(&format!("cat {dir}/a")), "hello\n");
}
