"""The side of transformers in gpu.py: torch.compile, autocast to bfloat16, torch's own fused attention."""

from speed.device_rows import Rows


def work_off(case, config, steps, turns):
    """A candidate's process: `steps` steps a turn."""
    import torch
    import transformers

    torch.manual_seed(1)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_dim,
        attention_probs_dropout_prob=config.attention_dropout,
        hidden_dropout_prob=config.dropout,
    )
    model = transformers.BertForMaskedLM(sizes).to(kind)
    batch = Rows(case.batch_size, case.length, case.documents).padded()
    batch = {name: torch.from_numpy(values).to(kind) for name, values in batch.items()}
    if not case.documents:
        batch.pop("attention_mask")
    turn = _train if case.trains else _answer
    step = turn(model, batch, kind)
    turns.introduce()
    while True:
        for _ in range(steps):
            last = step()
        value = float(last)  # Waits for the device.
        turns.end(**({"loss": value} if case.trains else {}))


def _train(model, batch, kind):
    import torch

    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.01, fused=True)
    compiled = torch.compile(model)

    def step():
        with torch.autocast(kind, torch.bfloat16):
            loss = compiled(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def _answer(model, batch, kind):
    import torch

    compiled = torch.compile(model.eval().bert)
    inputs = {name: values for name, values in batch.items() if name != "labels"}

    def step():
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16):
            return compiled(**inputs).last_hidden_state[0, 0, 0]

    return step
