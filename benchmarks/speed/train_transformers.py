"""The side of transformers in the training cases: the loop of its users on torch, padded to the longest."""

import numpy as np

from speed import cases

_IGNORED = -100


def train(case, init, rows, turns, *, bfloat16):
    """Trains in turns, of one epoch each, until the process is ended; see `train_kbert.train`.

    Args:
        case: `TrainingCase`.
        init: Folder of the encoder.
        rows: Ids of each row.
        turns: `Turns`.
        bfloat16: Whether autocast is on.
    """
    import torch
    import transformers

    torch.manual_seed(1)
    kinds = {"mlm": "MaskedLM", "classification": "SequenceClassification"}
    model = getattr(transformers, f"AutoModelFor{kinds[case.objective]}").from_pretrained(init)
    batches = [
        {name: torch.from_numpy(value).long() for name, value in batch.items()}
        for batch in _batches(case, rows)
    ]
    # The Trainer's default since transformers 5.
    optimizer = torch.optim.AdamW(model.parameters(), 5e-5, weight_decay=0.01, fused=True)
    first = cases.padded(rows[: case.batch_size])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        ids = torch.from_numpy(first).long()
        hidden = model.eval().base_model(ids, attention_mask=(ids > 0).long()).last_hidden_state
    turns.introduce(
        compared=cases.digest(hidden.float().numpy(), first),
        padded_tokens=sum(batch["input_ids"].numel() for batch in batches),
    )
    model.train()
    while True:
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        turns.end(loss=loss.item())


def _batches(case, rows):
    if case.objective == "mlm":
        values = cases.masked(rows)
        labels = np.full_like(values["token_ids"], _IGNORED)
        np.put_along_axis(labels, values["mask_positions"], values["mask_ids"], 1)
    else:
        labels = cases.labels_of(rows)
    for begin in range(0, len(rows), case.batch_size):
        chosen = slice(begin, begin + case.batch_size)
        ids = values["token_ids"][chosen] if case.objective == "mlm" else cases.padded(rows[chosen])
        yield {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int32), "labels": labels[chosen]}
