"""Writes the reference files of the tests with PyTorch and transformers.

    pip install torch transformers safetensors
    python make_reference.py MODEL_FOLDER

MODEL_FOLDER is the unpacked teacher (all-MiniLM-L6-v2).

bert.safetensors holds what BertModel makes of real sentences with the teacher's weights,
the inputs and a part of the outputs, small enough to be kept beside the test that reads it:

    input_ids, attention_mask, token_type_ids   [rows, sequence], i64
    hidden      last hidden states, every HIDDEN_STEP-th dimension
    scores      last layer's scaled attention scores before the mask, the heads in HEADS
    pooled      the pooler's output, whole

Its metadata holds the texts, the versions used, and HIDDEN_STEP and HEADS.

tiny-mlm/ is a tiny BertForMaskedLM with random weights as older tools saved it: a pickle,
names under `bert.`, LayerNorm's `gamma` and `beta`, a prediction head, no pooler; the
embedding table in half precision. Its expected.safetensors holds `input_ids` and `hidden`;
and, of a batch with padding in which some tokens are masked, `masked_ids`, `attention_mask`,
`labels` (-100 where nothing is masked) and `mlm_loss`.

tiny-electra/ is a tiny ElectraForPreTraining, the discriminator of ELECTRA, with random weights
in safetensors. Its expected.safetensors holds `input_ids` and `hidden`.
"""

import json
import math
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SEQUENCE = 32
HIDDEN_STEP = 3
HEADS = [0, 5, 11]
TEXTS = [
    ["The café's crème brûlée costs €7.50, but it's worth every cent!"],
    ["How long does the ferry take?", "The ferry crosses the strait in about forty minutes."],
    ["東京 is the capital of Japan, and naïve tokenizers split its name into two words."],
    ["Yes."],
]


HERE = Path(__file__).parent


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "tiny", "model", "##s", "of", "text"]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "initializer_range": 0.5,
}


def tiny_folder(name: str) -> Path:
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def randomise(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "LayerNorm" in name:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)


def make_tiny_electra() -> None:
    torch.manual_seed(2)
    folder = tiny_folder("tiny-electra")
    config = transformers.ElectraConfig(embedding_size=SIZES["hidden_size"], **SIZES)
    model = transformers.ElectraForPreTraining(config).eval()
    randomise(model)
    ids = torch.tensor([[2, 5, 6, 7, 8, 3], [2, 7, 9, 10, 4, 3]])
    with torch.no_grad():
        hidden = model.electra(ids).last_hidden_state
    save_file({"input_ids": ids, "hidden": hidden.contiguous()}, folder / "expected.safetensors")
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(config.to_json_string(use_diff=False))


def make_tiny_mlm() -> None:
    torch.manual_seed(1)
    folder = tiny_folder("tiny-mlm")
    config = transformers.BertConfig(**SIZES)
    model = transformers.BertForMaskedLM(config).eval()
    randomise(model)
    table = model.bert.embeddings.word_embeddings.weight
    table.data = table.data.half().float()

    ids = torch.tensor([[2, 5, 6, 7, 8, 3], [2, 7, 9, 10, 4, 3]])
    with torch.no_grad():
        hidden = model.bert(ids).last_hidden_state
    masked = torch.tensor([[2, 4, 6, 4, 8, 3], [2, 7, 4, 3, 0, 0]])
    mask = (masked != 0).long()
    labels = torch.full_like(masked, -100)
    labels[0, 1], labels[0, 3], labels[1, 2] = 5, 7, 10
    with torch.no_grad():
        loss = model(masked, attention_mask=mask, labels=labels).loss
    expected = {"input_ids": ids, "hidden": hidden.contiguous(), "masked_ids": masked,
                "attention_mask": mask, "labels": labels, "mlm_loss": loss.reshape(1)}
    save_file(expected, folder / "expected.safetensors")

    state = model.state_dict()
    for name in list(state):
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        old = old.replace("LayerNorm.bias", "LayerNorm.beta")
        tensor = state.pop(name)
        state[old] = tensor.half() if "word_embeddings" in name else tensor
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(config.to_json_string(use_diff=False))


def make_teacher(folder: str) -> None:
    torch.manual_seed(0)
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()

    rows = [
        tokenizer(*texts, padding="max_length", truncation=True, max_length=SEQUENCE)
        for texts in TEXTS
    ]
    batch = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}

    attention = model.encoder.layer[-1].attention.self
    seen = {}
    for name in ("query", "key"):
        projection = getattr(attention, name)
        projection.register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
        )
    with torch.no_grad():
        output = model(**batch)

    heads = model.config.num_attention_heads
    head_size = model.config.hidden_size // heads
    query, key = (
        seen[name].view(len(TEXTS), SEQUENCE, heads, head_size).transpose(1, 2)
        for name in ("query", "key")
    )
    scores = query @ key.transpose(-1, -2) / math.sqrt(head_size)
    # The hooked scores are the model's own: its attention probabilities follow from them.
    penalty = (1.0 - batch["attention_mask"].float())[:, None, None, :] * -10000.0
    with torch.no_grad():
        probabilities = model(**batch, output_attentions=True).attentions[-1]
    assert torch.allclose((scores + penalty).softmax(-1), probabilities, atol=1e-6)

    tensors = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "token_type_ids": batch["token_type_ids"],
        "hidden": output.last_hidden_state[..., ::HIDDEN_STEP].contiguous(),
        "scores": scores[:, HEADS].contiguous(),
        "pooled": output.pooler_output.contiguous(),
    }
    metadata = {
        "texts": json.dumps(TEXTS, ensure_ascii=False),
        "hidden_step": str(HIDDEN_STEP),
        "heads": json.dumps(HEADS),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    save_file(tensors, HERE / "bert.safetensors", metadata=metadata)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make_tiny_mlm()
    make_tiny_electra()
    make_teacher(sys.argv[1])
