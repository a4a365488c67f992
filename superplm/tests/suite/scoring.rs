//! The KD loss and the search's fitness made of it.

use atb_checkpoint::Linear;
use atb_space::Architecture;
use atb_superplm::{
    KdFitness, KdLoss, Output, PlmError, SentenceFitness, SuperPlm, TeacherEmbeddings, extract,
};
use atb_text::{Corpus, Encoded, HELD_OUT};
use candle_core::{Device, Tensor};

use crate::common::{small_batch, small_model};

const WHOLE: &str = "3-16-24-4-16";

fn arch(id: &str) -> Architecture {
    id.parse().expect(id)
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor")
}

fn scalar(tensor: &Tensor) -> f32 {
    tensor.to_scalar().expect("a scalar")
}

/// One row of two tokens, hidden size 2, one or two heads.
fn output(hidden: &[f32], heads: usize, scores: &[f32]) -> Output {
    Output {
        hidden: tensor(hidden, &[1, 2, hidden.len() / 2]),
        attention_scores: tensor(scores, &[1, heads, 2, 2]),
        pooled: None,
    }
}

#[test]
fn the_loss_is_the_sum_of_two_means_over_real_tokens() {
    let teacher = output(&[1.0, 2.0, 3.0, 4.0], 2, &[1.0, 2.0, 3.0, 4.0, 9.0, 9.0, 9.0, 9.0]);
    let student = output(&[2.0, 5.0], 1, &[3.0, 2.0, 3.0, 1.0]);

    // Hidden: the student's one dimension against the first, nothing against the second:
    // (1 + 4) for the first token, (4 + 16) for the second. Scores: one head in common,
    // differences 2, 0, 0 and 3.
    let both = tensor(&[1.0, 1.0], &[1, 2]);
    let loss = KdLoss::new(&student, &teacher, &both, None).expect("compares");
    assert_eq!((scalar(&loss.hidden_sum), loss.hidden_count), (25.0, 4.0));
    assert_eq!((scalar(&loss.attention_sum), loss.attention_count), (13.0, 4.0));
    assert_eq!(scalar(&loss.total().expect("adds")), 25.0 / 4.0 + 13.0 / 4.0);

    // With the second token padding only the first token and its score with itself count.
    let first = tensor(&[1.0, 0.0], &[1, 2]);
    let loss = KdLoss::new(&student, &teacher, &first, None).expect("compares");
    assert_eq!((scalar(&loss.hidden_sum), loss.hidden_count), (5.0, 2.0));
    assert_eq!((scalar(&loss.attention_sum), loss.attention_count), (4.0, 1.0));
}

#[test]
fn a_projection_replaces_the_missing_dimensions() {
    let teacher = output(&[1.0, 2.0, 3.0, 4.0], 1, &[0.0; 4]);
    let student = output(&[2.0, 5.0], 1, &[0.0; 4]);
    let mask = tensor(&[1.0, 1.0], &[1, 2]);
    let (weight, bias) = (tensor(&[0.5, 1.0], &[2, 1]), tensor(&[0.0, 0.0], &[2]));
    let projection = Linear { weight: weight.clone(), bias };
    // Projected: (1, 2) and (2.5, 5).
    let loss = KdLoss::new(&student, &teacher, &mask, Some(&projection)).expect("compares");
    assert_eq!(scalar(&loss.hidden_sum), 0.25 + 1.0);
    // (0, 4) and (1.5, 7).
    let projection = Linear { weight, bias: tensor(&[-1.0, 2.0], &[2]) };
    let loss = KdLoss::new(&student, &teacher, &mask, Some(&projection)).expect("compares");
    assert_eq!(scalar(&loss.hidden_sum), 1.0 + 4.0 + 2.25 + 9.0);
}

#[test]
fn padding_and_batching_leave_the_loss_alone() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let texts: Vec<String> = (1..=11).map(|n| "a tiny models of text ".repeat(n)).collect();
    let part = arch("2-12-16-3-6");
    let loss = |sequence: usize| {
        let text = plm.tokenizer().encode_batch(&texts, sequence).expect("encodes");
        KdFitness::new(&plm, &plm, &text).and_then(|fitness| fitness.loss(&part)).expect("scores")
    };
    let (tight, loose) = (loss(68), loss(90));
    assert!(tight > 0.0);
    assert!((tight - loose).abs() < 1e-6 * tight, "{tight} and {loose}");

    // Row by row, weighted by hand, it is the same mean.
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    for text in &texts {
        let row = plm.tokenizer().encode_batch([text], 68).expect("encodes");
        let mask: Vec<f32> = row.attention_mask.iter().map(|real| *real as f32).collect();
        let whole = plm.forward(plm.architecture(), &row).expect("runs");
        let student = plm.forward(&part, &row).expect("runs");
        let loss = KdLoss::new(&student, &whole, &tensor(&mask, &[1, 68]), None).expect("compares");
        sums[0] += f64::from(scalar(&loss.hidden_sum));
        sums[1] += f64::from(scalar(&loss.attention_sum));
        counts[0] += loss.hidden_count;
        counts[1] += loss.attention_count;
    }
    let by_hand = sums[0] / counts[0] + sums[1] / counts[1];
    assert!((tight - by_hand).abs() < 1e-6 * tight, "{tight} and {by_hand}");

    // Eleven rows are two batches.
    let text = plm.tokenizer().encode_batch(&texts, 68).expect("encodes");
    let fitness = KdFitness::new(&plm, &plm, &text).expect("scores");
    let parts = fitness.losses(&part).expect("scores");
    assert_eq!(parts.len(), 2);
    assert!((parts.iter().sum::<f64>() / 2.0 - tight).abs() < 1e-12, "{parts:?}");
}

/// The mean of a row's states over its first `real` tokens, at length one.
fn direction(hidden: &Tensor, real: usize) -> Vec<f64> {
    let states: Vec<Vec<f32>> = hidden.squeeze(0).and_then(|h| h.to_vec2()).expect("states");
    let mut mean = vec![0.0; states[0].len()];
    for state in &states[..real] {
        mean.iter_mut().zip(state).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
    mean.iter().map(|value| value / length).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn the_sentence_loss_is_that_of_cosines_by_hand() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let texts = ["a tiny model", "text of models of text", "tiny tiny tiny text", "of"];
    let text = plm.tokenizer().encode_batch(texts, 12).expect("encodes");
    let part = arch("2-16-16-3-6");
    let teacher = TeacherEmbeddings::new(&plm, &text).expect("embeds");
    let fitness = SentenceFitness::new(&plm, &teacher, &text).expect("suits");
    assert!(fitness.loss(plm.architecture()).expect("scores") < 1e-6);

    let of = |arch: &Architecture| -> Vec<Vec<f64>> {
        let embed = |text: &&str| {
            let row = plm.tokenizer().encode_batch([*text], 12).expect("encodes");
            let hidden = plm.forward(arch, &row).expect("runs").hidden;
            direction(&hidden, row.real_tokens())
        };
        texts.iter().map(embed).collect()
    };
    let (own, whole) = (of(&part), of(plm.architecture()));
    let count = texts.len() as f64;
    let distance = own.iter().zip(&whole).map(|(a, b)| 1.0 - cosine(a, b)).sum::<f64>() / count;
    let mut error = 0.0;
    for i in 0..texts.len() {
        for j in (0..texts.len()).filter(|j| *j != i) {
            error += (cosine(&own[i], &own[j]) - cosine(&whole[i], &whole[j])).powi(2);
        }
    }
    let expected = distance + error / (count * (count - 1.0));
    let found = fitness.loss(&part).expect("scores");
    let of_texts = fitness.losses(&part).expect("scores");
    let error = |i: usize, j: &usize| {
        (cosine(&own[i], &own[*j]) - cosine(&whole[i], &whole[*j])).powi(2) / (count - 1.0)
    };
    for (i, of_text) in of_texts.iter().enumerate() {
        let others = (0..texts.len()).filter(|j| *j != i);
        let by_hand = 1.0 - cosine(&own[i], &whole[i]) + others.map(|j| error(i, &j)).sum::<f64>();
        assert!((of_text - by_hand).abs() < 1e-5, "{of_text} for {by_hand}");
    }
    assert_eq!(of_texts.len(), texts.len());
    assert!(fitness.loss(&arch("2-12-16-3-6")).expect("narrower").is_finite());
    assert!((found - expected).abs() < 1e-5 * expected, "{found} for {expected}");

    let other = plm.tokenizer().encode_batch(["of text"], 12).expect("encodes");
    let error = SentenceFitness::new(&plm, &teacher, &other).err().expect("refused").to_string();
    assert!(error.contains("another text"), "{error}");
    let of_itself = TeacherEmbeddings::of_itself(&plm, &text).expect("embeds");
    assert_ne!(
        SentenceFitness::new(&plm, &of_itself, &text).expect("suits").digest(),
        KdFitness::new(&plm, &plm, &text).expect("scores").digest()
    );
}

#[test]
fn a_static_table_is_scored_as_the_better_of_plain_and_weighted_means() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    let mut words = Vec::new();
    crate::common::rewrite(&folder, |tensors| {
        words = tensors["embeddings.word_embeddings.weight"].to_vec2::<f32>().expect("values");
    });
    let plm = SuperPlm::load(&folder).expect("loads");
    let texts = ["a tiny model", "text of models of text", "tiny tiny tiny text", "of"];
    let text = plm.tokenizer().encode_batch(texts, 12).expect("encodes");
    let teacher = TeacherEmbeddings::new(&plm, &text).expect("embeds");
    let fitness = SentenceFitness::new(&plm, &teacher, &text).expect("suits");
    let rows: Vec<(Vec<usize>, Vec<f64>)> = texts
        .iter()
        .map(|text| {
            let row = plm.tokenizer().encode_batch([*text], 12).expect("encodes");
            let hidden = plm.forward(plm.architecture(), &row).expect("runs").hidden;
            let ids = &row.input_ids[1..row.real_tokens() - 1];
            let ids = ids.iter().map(|id| *id as usize).collect();
            (ids, direction(&hidden, row.real_tokens()))
        })
        .collect();
    let loss = |weight: &dyn Fn(usize) -> f64| {
        let own: Vec<Vec<f64>> = rows
            .iter()
            .map(|(ids, _)| {
                let mut sum = vec![0.0; words[0].len()];
                for id in ids {
                    let values = sum.iter_mut().zip(&words[*id]);
                    values.for_each(|(sum, value)| *sum += weight(*id) * f64::from(*value));
                }
                let length = cosine(&sum, &sum).sqrt();
                sum.iter().map(|value| value / length).collect()
            })
            .collect();
        let mut total = 0.0;
        for i in 0..rows.len() {
            total += 1.0 - cosine(&own[i], &rows[i].1);
            for j in (0..rows.len()).filter(|j| *j != i) {
                let error = cosine(&own[i], &own[j]) - cosine(&rows[i].1, &rows[j].1);
                total += error.powi(2) / (rows.len() - 1) as f64;
            }
        }
        total / rows.len() as f64
    };
    let inverse = |id: usize| {
        let texts = rows.iter().filter(|(ids, _)| ids.contains(&id)).count();
        ((rows.len() + 1) as f64 / (texts + 1) as f64).ln()
    };
    let (plain, weighted) = (loss(&|_| 1.0), loss(&inverse));
    let found = fitness.losses_of_static_table().expect("scores");
    assert_eq!(found.len(), texts.len());
    let found = found.iter().sum::<f64>() / texts.len() as f64;
    assert!((plain - weighted).abs() > 1e-3, "{plain} {weighted}");
    assert!((found - plain.min(weighted)).abs() < 1e-5, "{found} for {plain} or {weighted}");
}

#[test]
fn fitness_is_reproducible_and_its_digest_tells_its_inputs_apart() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let fitness = KdFitness::new(&plm, &plm, &small_batch()).expect("scores");
    assert_eq!(fitness.loss(plm.architecture()).expect("scores"), 0.0);
    let part = arch("2-12-16-4-8");
    let again = KdFitness::new(&plm, &plm, &small_batch()).expect("scores");
    assert_eq!(fitness.loss(&part).expect("scores"), again.loss(&part).expect("scores"));
    assert_eq!(fitness.digest(), again.digest());

    let folder = root.path().join("part");
    extract(&plm, &arch("3-12-24-4-16"), &folder).expect("cuts");
    let cut = SuperPlm::load(&folder).expect("loads");
    let of_cut = KdFitness::new(&cut, &plm, &small_batch()).expect("scores");
    assert_ne!(of_cut.digest(), fitness.digest());
    // The same weights, so the same loss against the same teacher.
    let (alone, elastic) =
        (of_cut.loss(&part).expect("scores"), fitness.loss(&part).expect("scores"));
    assert!((alone - elastic).abs() < 1e-6 * elastic, "{alone} and {elastic}");

    let mut other_text = small_batch();
    other_text.input_ids[1] = 6;
    let other = KdFitness::new(&plm, &plm, &other_text).expect("scores");
    assert_ne!(other.digest(), fitness.digest());
}

#[test]
fn teachers_and_texts_that_cannot_be_used() {
    let root = tempfile::tempdir().expect("temporary folder");
    let plm = SuperPlm::load(&small_model(root.path(), WHOLE)).expect("loads");
    let refusal = |teacher: &SuperPlm, text: &Encoded| {
        KdFitness::new(&plm, teacher, text).err().expect("refused").to_string()
    };
    let random = |id: &str, tokenizer: &atb_text::Tokenizer| {
        SuperPlm::random(arch(id), tokenizer.clone(), 1).expect("random weights")
    };
    assert_eq!(
        refusal(&random("1-8-8-2-8", plm.tokenizer()), &small_batch()),
        "the SuperPLM cannot be scored against this teacher: its hidden size 16 is more than \
         the teacher's 8, and it has no kd_projection.weight"
    );
    let other_words = atb_text::Tokenizer::bert_uncased().expect("loads");
    assert_eq!(
        refusal(&random("1-16-8-2-8", &other_words), &small_batch()),
        "the SuperPLM cannot be scored against this teacher: the two vocabularies differ, so \
         their token ids do"
    );
    let mut padding = small_batch();
    padding.attention_mask.fill(0);
    assert_eq!(refusal(&plm, &padding), "nothing to score on: the batches hold no token");
}

#[test]
fn the_teacher_scores_its_own_parts_by_what_they_lack() {
    let teacher = atb_fetch::teacher().expect("the teacher's folder");
    let plm = SuperPlm::load(&teacher).expect("loads");
    let paragraphs: Vec<String> = Corpus::new("held-out text", HELD_OUT.as_bytes())
        .take(2)
        .map(|paragraph| paragraph.map(|paragraph| paragraph.text))
        .collect::<Result<_, _>>()
        .expect("reads");
    let text = plm.tokenizer().encode_batch(&paragraphs, 24).expect("encodes");
    let fitness = KdFitness::new(&plm, &plm, &text).expect("scores");
    let loss = |id: &str| fitness.loss(&arch(id)).expect(id);
    assert_eq!(loss("6-384-1536-12-384"), 0.0);
    // Taking more of one size away never helps: the leading part of an ordinary model.
    for [more, less] in [
        ["6-384-1504-12-384", "6-384-768-12-384"],
        ["6-380-1536-12-384", "6-256-1536-12-384"],
        ["6-384-1536-12-372", "6-384-1536-12-192"],
        ["5-384-1536-12-384", "2-384-1536-12-384"],
    ] {
        let (small, large) = (loss(more), loss(less));
        assert!(0.0 < small && small < large, "{more}: {small}, {less}: {large}");
    }
}

#[test]
fn weights_that_overflow_give_an_error_not_a_score() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = small_model(root.path(), WHOLE);
    crate::common::rewrite(&folder, |tensors| {
        let name = "encoder.layer.0.output.dense.bias".to_owned();
        tensors.insert(name, tensor(&[f32::MAX; 16], &[16]));
    });
    let broken = SuperPlm::load(&folder).expect("loads");
    let sound = SuperPlm::load(&small_model(&root.path().join("other"), WHOLE)).expect("loads");
    let fitness = KdFitness::new(&broken, &sound, &small_batch()).expect("the teacher is sound");
    let error = fitness.loss(&arch("1-8-8-2-8")).expect_err("refused");
    assert!(matches!(error, PlmError::NotFinite { .. }), "{error}");
}
