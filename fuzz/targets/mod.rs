//! Functions that accept any bytes and panic if a rule is broken.
//!
//! The programs in `fuzz/fuzz_targets` call them with libFuzzer's inputs. The tests here replay
//! `fuzz/corpus`.

pub use crate::config::fuzz::configuration;
pub use crate::oauth::fuzz::token_response;
pub use crate::proxy::fuzz::{connection_header, links, response_head, verdict};
pub use vbc_http::fuzz::{h2_frames, request_head};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Runs a target with every input of its corpus, whole and cut short.
    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 10, "{} has {} inputs", folder.display(), inputs.len());
        for path in inputs {
            let input = fs::read(&path).unwrap();
            for part in [input.len(), input.len() / 2, input.len().saturating_sub(1)] {
                let outcome = std::panic::catch_unwind(|| run(&input[..part]));
                assert!(outcome.is_ok(), "{} up to byte {part}", path.display());
            }
        }
    }

    macro_rules! replayed {
        ($($target:ident),*) => {
            $(#[test]
            fn $target() {
                replay(stringify!($target), super::$target);
            })*

            #[test]
            fn every_target_is_replayed_and_built() {
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                let mut known = vec![$(stringify!($target).to_owned()),*];
                known.sort();
                for (folder, ending) in [("fuzz/corpus", ""), ("fuzz/fuzz_targets", ".rs")] {
                    let entries = fs::read_dir(root.join(folder)).unwrap();
                    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                    let mut found: Vec<_> = names.map(|name| name.trim_end_matches(ending).to_owned()).collect();
                    found.sort();
                    assert_eq!(found, known, "{folder}");
                }
            }
        };
    }

    replayed!(
        response_head,
        configuration,
        connection_header,
        h2_frames,
        links,
        request_head,
        token_response,
        verdict
    );
}
