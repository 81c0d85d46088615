"""The peer of finetuning.py: the usual loop of torch and transformers, on batches that kbert made."""

import dataclasses
import time

import numpy as np


@dataclasses.dataclass(frozen=True)
class Settings:
    """How both sides train: learning rate, share of it that warms up, weight decay, batch size."""

    batch_size: int = 32
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01


def train_and_answer(task, init, batches, answered, head, seed, settings, bfloat16):
    """Trains on batches and answers others.

    Args:
        task: Name of the task.
        init: Hugging Face folder of the encoder.
        batches: Pairs of inputs and targets, dicts of arrays under kbert's names, all epochs in order.
        answered: Inputs to answer.
        head: Kernel (hidden, outputs) and bias (outputs) that the head starts with, arrays.
        seed: Of dropout.
        settings: Of `Settings`.
        bfloat16: Whether torch computes by autocast.

    Returns:
        Outputs for each of `answered`, a dict of arrays; seconds on the clock; seconds of processor time.
    """
    import torch
    from transformers import get_linear_schedule_with_warmup

    torch.manual_seed(seed)
    model = _model(task, init, *head)
    plain = [p for name, p in model.named_parameters() if "LayerNorm" in name or name.endswith("bias")]
    known = {id(parameter) for parameter in plain}
    others = [p for p in model.parameters() if id(p) not in known]
    optimizer = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": others}],
        settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    warmup = round(settings.warmup_ratio * len(batches))
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, len(batches))
    started, cpu_started = time.perf_counter(), time.process_time()
    model.train()
    for inputs, targets in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = _outputs(model, inputs)
        _loss(outputs, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = [
            {
                name: value.float().numpy().astype(np.float32)
                for name, value in _outputs(model, inputs).items()
            }
            for inputs in answered
        ]
    return found, time.perf_counter() - started, time.process_time() - cpu_started


def _model(task, init, kernel, bias):
    import torch
    import transformers

    kinds = {"tagging": "TokenClassification", "question_answering": "QuestionAnswering"}
    kind = getattr(transformers, f"AutoModelFor{kinds.get(task, 'SequenceClassification')}")
    model = kind.from_pretrained(init, num_labels=len(bias))
    head = model.qa_outputs if task == "question_answering" else model.classifier
    with torch.no_grad():
        head.weight.copy_(torch.tensor(kernel.T))
        head.bias.copy_(torch.tensor(bias))
    return model


def _outputs(model, inputs):
    """Outputs under kbert's names: those of words at their first pieces, those of padding never chosen."""
    import torch

    mask = torch.tensor(inputs["padding_mask"])
    found = model(
        input_ids=torch.tensor(inputs["token_ids"]),
        token_type_ids=torch.tensor(inputs["segment_ids"]),
        attention_mask=mask,
    )
    if "start_logits" in found:
        return {
            name: found[name].float().masked_fill(mask == 0, -1e9) for name in ("start_logits", "end_logits")
        }
    logits = found["logits"].float()
    if "word_positions" in inputs:
        positions = torch.tensor(inputs["word_positions"]).long()
        logits = logits.gather(1, positions[..., None].expand(-1, -1, logits.shape[-1]))
        return {"logits": logits, "word_mask": (positions > 0).int()}
    return {"logits": logits}


def _loss(outputs, targets):
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    targets = {name: torch.tensor(value) for name, value in targets.items()}
    if "start_position" in targets:
        sides = ("start", "end")
        return sum(
            cross_entropy(outputs[f"{side}_logits"], targets[f"{side}_position"].long()) for side in sides
        ) / len(sides)
    if "score" in targets:
        return mse_loss(outputs["logits"][:, 0], targets["score"])
    if "tag_ids" in targets:
        words = outputs["word_mask"] > 0
        return cross_entropy(outputs["logits"][words], targets["tag_ids"][words].long())
    return cross_entropy(outputs["logits"], targets["label"].long())
