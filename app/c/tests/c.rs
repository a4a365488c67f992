//! The library from C's side: the C project of `atb embed`, built and run, and every kind of
//! wrong argument and bundle through the functions themselves.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use atb_embed::Language;
use autotinybert::{
    ATB_CHECK_DIGESTS, ATB_TASK_CLASSIFY, ATB_TASK_EMBED, ATB_TASK_TAG, atb_answer,
    atb_answer_span, atb_cancellation_cancel, atb_cancellation_free, atb_cancellation_new,
    atb_classify, atb_embed, atb_error, atb_error_free, atb_error_help, atb_error_message,
    atb_measure, atb_model, atb_model_embedding_size, atb_model_free, atb_model_gives,
    atb_model_label, atb_model_label_count, atb_model_open, atb_model_open_bytes,
    atb_model_open_fd, atb_model_sequence, atb_model_warm_up, atb_score, atb_status,
    atb_string_free, atb_tag, atb_tag_span,
};

/// The folder that cargo put the shared library into.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let folder = test.parent().expect("a folder");
    let has = |folder: &&Path| folder.join("libautotinybert.so").is_file();
    let folders = [Some(folder), folder.parent()];
    folders.into_iter().flatten().find(has).expect("the shared library").to_owned()
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

/// What an error says, which is freed.
fn message(error: *mut atb_error) -> String {
    assert!(!error.is_null(), "there is an error");
    // SAFETY: the error was just given and is freed once.
    unsafe {
        let message = CStr::from_ptr(atb_error_message(error)).to_str().expect("UTF-8").to_owned();
        let help = atb_error_help(error);
        assert!(help.is_null() || !CStr::from_ptr(help).is_empty());
        atb_error_free(error);
        message
    }
}

/// A model, or how it was refused.
fn opened(path: &Path) -> Result<*mut atb_model, (atb_status, String)> {
    let (mut model, mut error) = (ptr::null_mut(), ptr::null_mut());
    let path = text(&path.display().to_string());
    // SAFETY: all pointers are valid.
    let status = unsafe { atb_model_open(path.as_ptr(), 0, &raw mut model, &raw mut error) };
    match status {
        atb_status::Ok => Ok(model),
        status => Err((status, message(error))),
    }
}

#[test]
fn the_c_project_builds_without_a_warning_and_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "classifier", 3);
    let project = folder.path().join("project");
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    atb_embed::write(Language::C, &bundle, source, &project).expect("writes");
    let lib = format!("LIB={}", library().display());
    let built = Command::new("make").arg(&lib).current_dir(&project).output().expect("make");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // The header is also one of C++ and of other warnings.
    for compiler in ["cc", "c++"] {
        let language = if compiler == "cc" { "c" } else { "c++" };
        let checked = Command::new(compiler)
            .args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language])
            .arg("include/autotinybert.h")
            .current_dir(&project)
            .output();
        let Ok(checked) = checked else { continue };
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    // CMake and pkg-config find the same library, which lies where `make library` puts it.
    std::os::unix::fs::symlink(
        library().join("libautotinybert.so"),
        project.join("lib/libautotinybert.so"),
    )
    .expect("links");
    let step = |program: &str, arguments: &[&str]| {
        let done = Command::new(program)
            .args(arguments)
            .env("PKG_CONFIG_PATH", project.join("lib/pkgconfig"))
            .current_dir(&project)
            .output()
            .expect(program);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    };
    step("cmake", &["-S", ".", "-B", "build"]);
    step("cmake", &["--build", "build"]);
    let flags = step("pkg-config", &["--cflags", "--libs", "autotinybert"]);
    let mut arguments = vec!["main.c", "-o", "build/by-pkg-config"];
    arguments.extend(flags.split_whitespace());
    step("cc", &arguments);
    let program = |path: &str| Command::new(project.join(path));
    let asked = |mut program: Command| {
        let program = program.args(["bundle.atb", "text"]).current_dir(&project);
        program.env("LD_LIBRARY_PATH", project.join("lib")).output().expect("runs").stdout
    };
    let answers = ["./demo", "build/demo", "build/by-pkg-config"].map(|path| asked(program(path)));
    assert!(!answers[0].is_empty());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let run = |arguments: &[&str]| {
        let ran = Command::new("./demo").args(arguments).current_dir(&project).output();
        let ran = ran.expect("runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    let sentence = "The battery lasts two days.";
    let (status, output, errors) = run(&["bundle.atb", sentence]);
    assert_eq!(status, Some(0), "{errors}");
    let model = atb_app::Model::open(&bundle).expect("opens");
    let probabilities = model.probabilities(&[sentence]).expect("runs").remove(0);
    let mut expected = format!("{sentence}\n");
    for (label, probability) in model.labels().iter().zip(probabilities) {
        expected += &format!("  {label} {probability:.4}\n");
    }
    assert_eq!(output, expected);

    let whole = std::fs::read(project.join("bundle.atb")).expect("reads");
    std::fs::write(project.join("cut.atb"), &whole[..whole.len() / 2]).expect("writes");
    let (status, output, errors) = run(&["cut.atb", "text"]);
    assert_eq!((status, &*output), (Some(1), ""));
    assert!(errors.starts_with("error: cut.atb is no bundle in one file"), "{errors}");
    assert!(errors.contains("\nhint: "), "{errors}");
}

#[test]
fn answers_are_those_of_rust_and_wrong_arguments_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "classifier", 3);
    let model = opened(&bundle).expect("opens");
    let texts = [text("two roads"), text("The battery lasts two days.")];
    let pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let mut found = [0.0f32; 6];
    // SAFETY: all pointers are valid, or NULL where that is tried.
    unsafe {
        assert!(atb_model_gives(model, ATB_TASK_CLASSIFY));
        assert!(!atb_model_gives(model, ATB_TASK_EMBED) && !atb_model_gives(model, 77));
        assert_eq!(atb_model_label_count(model), 3);
        assert_eq!(atb_model_embedding_size(model), 0);
        assert_eq!(atb_model_sequence(model), 32);
        assert_eq!(CStr::from_ptr(atb_model_label(model, 2)).to_str(), Ok("LABEL_2"));
        assert!(atb_model_label(model, 3).is_null());
        assert_eq!(atb_model_warm_up(model, ptr::null_mut()), atb_status::Ok);
        let mut classify = |texts: *const *const c_char, capacity, cancellation| {
            let mut error = ptr::null_mut();
            let status = atb_classify(
                model,
                texts,
                ptr::null(),
                2,
                found.as_mut_ptr(),
                capacity,
                cancellation,
                &raw mut error,
            );
            (status, if status == atb_status::Ok { String::new() } else { message(error) })
        };
        let expected = atb_app::Model::open(&bundle).expect("opens");
        let expected = expected.probabilities(&["two roads", "The battery lasts two days."]);
        assert_eq!(classify(pointers.as_ptr(), 6, ptr::null()).0, atb_status::Ok);
        let (status, told) = classify(pointers.as_ptr(), 5, ptr::null());
        assert_eq!(status, atb_status::Capacity);
        assert_eq!(told, "`probabilities` has room for 5 values, 6 are needed");
        let (status, told) = classify(ptr::null(), 6, ptr::null());
        assert_eq!((status, &*told), (atb_status::Argument, "`texts` is NULL"));
        let broken = CString::new([b'a', 0xff]).expect("no NUL");
        let wrong = [pointers[0], broken.as_ptr()];
        let (status, told) = classify(wrong.as_ptr(), 6, ptr::null());
        assert_eq!(status, atb_status::Argument);
        assert_eq!(told, "`texts[1]` is not UTF-8 from byte 1 on");
        let wrong = [pointers[0], ptr::null()];
        let (status, told) = classify(wrong.as_ptr(), 6, ptr::null());
        assert_eq!((status, &*told), (atb_status::Argument, "`texts[1]` is NULL"));
        let cancellation = atb_cancellation_new();
        assert_eq!(classify(pointers.as_ptr(), 6, cancellation).0, atb_status::Ok);
        atb_cancellation_cancel(cancellation);
        assert_eq!(classify(pointers.as_ptr(), 6, cancellation).0, atb_status::Cancelled);
        atb_cancellation_free(cancellation);
        assert_eq!(found.to_vec(), expected.expect("runs").concat());

        let mut error = ptr::null_mut();
        let status = atb_embed(
            model,
            pointers.as_ptr(),
            2,
            found.as_mut_ptr(),
            6,
            ptr::null(),
            &raw mut error,
        );
        assert_eq!(status, atb_status::Task);
        assert!(message(error).contains("its outputs are logits"));
        let status = atb_score(
            model,
            pointers.as_ptr(),
            ptr::null(),
            2,
            found.as_mut_ptr(),
            6,
            ptr::null(),
            ptr::null_mut(),
        );
        assert_eq!(status, atb_status::Task);
        atb_model_free(model);
        atb_model_free(ptr::null_mut());
        atb_error_free(ptr::null_mut());
        atb_string_free(ptr::null_mut());
        atb_cancellation_free(ptr::null_mut());
        assert!(atb_error_message(ptr::null()).is_null());
        assert_eq!(atb_model_warm_up(ptr::null(), ptr::null_mut()), atb_status::Argument);
    }
}

#[test]
fn a_bundle_is_opened_from_bytes_and_from_the_middle_of_a_file() {
    use std::os::fd::AsRawFd;

    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "qa_outputs", 2);
    let bytes = std::fs::read(&bundle).expect("reads");
    let middle = folder.path().join("middle");
    std::fs::write(&middle, [&[3; 777][..], &bytes, &[4; 99]].concat()).expect("writes");
    let middle = std::fs::File::open(&middle).expect("opens");
    let (fd, length) = (middle.as_raw_fd(), bytes.len() as u64);
    let (question, context) =
        (text("When did it close?"), text("The caf\u{e9} opened in 1973. It closed in 1981."));
    let answers = |model: *mut atb_model| {
        let (mut found, mut count) = ([atb_answer_span::default(); 4], 0);
        // SAFETY: all pointers are valid; the model is freed once.
        unsafe {
            let status = atb_answer(
                model,
                question.as_ptr(),
                context.as_ptr(),
                found.as_mut_ptr(),
                4,
                &raw mut count,
                ptr::null(),
                ptr::null_mut(),
            );
            assert_eq!(status, atb_status::Ok);
            atb_model_free(model);
        }
        found[..count].to_vec()
    };
    let expected = answers(opened(&bundle).expect("opens"));
    assert_eq!(expected.len(), 4);
    assert!(expected.iter().all(|span| span.start_byte < span.end_byte));
    let (mut model, mut error) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: all pointers are valid, or NULL where that is tried.
    unsafe {
        let flags = ATB_CHECK_DIGESTS;
        let (data, size) = (bytes.as_ptr().cast(), bytes.len());
        let status = atb_model_open_bytes(data, size, flags, &raw mut model, &raw mut error);
        assert_eq!(status, atb_status::Ok);
        assert_eq!(answers(model), expected);
        let status = atb_model_open_fd(fd, 777, length, 0, &raw mut model, &raw mut error);
        assert_eq!(status, atb_status::Ok);
        assert_eq!(answers(model), expected);
        for (fd, offset, length, flags, expected) in [
            (-1, 0, 0, 0, atb_status::Argument),
            (1_000_000, 0, 0, 0, atb_status::Argument),
            (fd, 777, length + 100, 0, atb_status::Bundle),
            (fd, u64::MAX, 1, 0, atb_status::Bundle),
            (fd, 1, length, 0, atb_status::Bundle),
            (fd, 777, length, 6, atb_status::Argument),
        ] {
            let mut error = ptr::null_mut();
            let status =
                atb_model_open_fd(fd, offset, length, flags, &raw mut model, &raw mut error);
            assert_eq!((status, message(error).is_empty()), (expected, false));
        }
        let status = atb_model_open_bytes(ptr::null(), 5, 0, &raw mut model, ptr::null_mut());
        assert_eq!(status, atb_status::Argument);
        let status = atb_model_open_bytes(data, 0, 0, &raw mut model, ptr::null_mut());
        assert_eq!(status, atb_status::Bundle);
        let status = atb_model_open_bytes(data, size, 0, ptr::null_mut(), ptr::null_mut());
        assert_eq!(status, atb_status::Argument);
    }
}

#[test]
fn labelled_parts_are_those_of_rust() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle_with(folder.path(), "classifier", 3, &["token-classification"]);
    const TEXT: &str = "The caf\u{e9}'s battery lasts two days.";
    let expected = atb_app::Model::open(&bundle).expect("opens").tag(&[TEXT]).expect("runs");
    let model = opened(&bundle).expect("opens");
    let question = text(TEXT);
    let mut tags = [atb_tag_span::default(); 32];
    let mut found = 0;
    // SAFETY: all pointers are valid, or NULL where that is tried.
    unsafe {
        assert!(atb_model_gives(model, ATB_TASK_TAG));
        let ask = |tags: *mut atb_tag_span, capacity, found: *mut usize| {
            let error = ptr::null_mut();
            atb_tag(model, question.as_ptr(), tags, capacity, found, ptr::null(), error)
        };
        assert_eq!(ask(tags.as_mut_ptr(), 32, &raw mut found), atb_status::Ok);
        let places = tags[..found].iter().map(|tag| (tag.start_byte, tag.end_byte, tag.label));
        let rust = expected[0].iter().map(|tag| (tag.bytes.0, tag.bytes.1, tag.index));
        assert!(places.eq(rust), "{tags:?}");
        // How many there would be is told where they do not fit.
        let mut needed = 0;
        assert_eq!(ask(ptr::null_mut(), 0, &raw mut needed), atb_status::Capacity);
        assert_eq!(needed, found);
        assert_eq!(ask(tags.as_mut_ptr(), 32, ptr::null_mut()), atb_status::Argument);
        atb_model_free(model);
    }
}

#[test]
fn hostile_bundles_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = common::bundle(folder.path(), "classifier", 3);
    let plain = folder.path().join("bundle");
    let manifest = std::fs::read_to_string(plain.join("bundle.json")).expect("reads");
    let with_manifest = |text: &str| {
        std::fs::write(plain.join("bundle.json"), text).expect("writes");
        opened(&plain).expect_err("refused")
    };
    for (from, to, told) in [
        ("\"schema\": 1", "\"schema\": 9", "has schema 9"),
        ("vocab.txt", "../../vocab.txt", "cannot be called"),
        ("vocab.txt", "/etc/passwd", "cannot be called"),
        ("model.onnx", "config.json", "is listed twice"),
        ("model.onnx", "other.onnx", "lacks model.onnx"),
        ("\"bytes\": ", "\"bytes\": 1", "bundle.json says 1"),
        ("\"bytes\": ", "\"bytes\": -", "invalid value"),
        ("\"parts\"", "\"pieces\"", "missing field `parts`"),
        ("{", "[[[[{", "expected"),
        ("\n}", "", "EOF"),
    ] {
        assert!(manifest.contains(from), "{manifest}");
        let (status, error) = with_manifest(&manifest.replace(from, to));
        assert_eq!(status, atb_status::Bundle, "{error}");
        assert!(error.contains(told), "{to}: {error}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(with_manifest(&deep).0, atb_status::Bundle);
    assert_eq!(with_manifest(&" ".repeat(2 << 20)).0, atb_status::Bundle);
    let bytes = std::fs::read(&bundle).expect("reads");
    let cut = folder.path().join("cut.atb");
    for length in (0..bytes.len()).step_by(199_999).chain([bytes.len() - 1]) {
        std::fs::write(&cut, &bytes[..length]).expect("writes");
        assert_eq!(opened(&cut).expect_err("cut").0, atb_status::Bundle, "{length}");
    }
    for path in ["/dev/null", "/dev/zero", "/", "/nowhere"] {
        assert_eq!(opened(Path::new(path)).expect_err(path).0, atb_status::Bundle, "{path}");
    }
}

#[test]
fn a_bundle_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = text(&common::bundle(folder.path(), "", 0).display().to_string());
    let (mut latency, mut record, mut error) = (0.0, ptr::null_mut(), ptr::null_mut());
    // SAFETY: all pointers are valid, or NULL where that is tried.
    unsafe {
        let (out, error) = (&raw mut record, &raw mut error);
        let status = atb_measure(bundle.as_ptr(), 0.05, &raw mut latency, out, error);
        assert_eq!(status, atb_status::Ok);
        assert!(latency > 0.0);
        let text = CStr::from_ptr(record).to_str().expect("UTF-8").to_owned();
        assert_eq!(text.lines().count(), 4);
        assert!(text.starts_with("{\"schema\":1,\"target\":\"app\""), "{text}");
        atb_string_free(record);
        let status = atb_measure(bundle.as_ptr(), 0.05, ptr::null_mut(), out, ptr::null_mut());
        assert_eq!(status, atb_status::Argument);
    }
}
