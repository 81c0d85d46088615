"""kbert's side of gpu.py: the models on JAX, their steps compiled as one function."""

import statistics
import time

from speed.device_rows import Rows


def work_off(case, config, steps, turns):
    """A candidate's process: `steps` steps a turn."""
    import jax
    import keras

    from kbert.models import BertMaskedLM

    keras.utils.set_random_seed(1)
    model = BertMaskedLM(config, dtype="mixed_bfloat16")
    model.build()
    inputs, targets = jax.device_put(Rows(case.batch_size, case.length, case.documents).packed())
    state = [variable.value for variable in model.trainable_variables]
    other = [variable.value for variable in model.non_trainable_variables]
    if not case.trains:
        inputs.pop("mask_positions")
        return _answer(model, state, other, inputs, steps, turns)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    of_optimizer = [variable.value for variable in optimizer.variables]

    def loss_of(state, other):
        outputs, other = model.stateless_call(state, other, inputs, training=True)
        return _masked_loss(outputs["mlm_logits"], targets), other

    def step(state, other, of_optimizer):
        (loss, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(state, other)
        state, of_optimizer = optimizer.stateless_apply(of_optimizer, gradients, state)
        return loss, state, other, of_optimizer

    step = jax.jit(step, donate_argnums=(0, 1, 2))
    turns.introduce()
    while True:
        for _ in range(steps):
            loss, state, other, of_optimizer = step(state, other, of_optimizer)
        turns.end(loss=float(loss))  # Waits for the device.


def _answer(model, state, other, inputs, steps, turns):
    import jax

    @jax.jit
    def call(inputs):
        outputs, _ = model.bert.stateless_call(*_of_encoder(model, state, other), inputs, training=False)
        return outputs["sequence_output"]

    turns.introduce()
    while True:
        for _ in range(steps):
            hidden = call(inputs)
        hidden.block_until_ready()
        turns.end()


def _of_encoder(model, state, other):
    """The values of the encoder's variables alone, trained and not."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    values = {variable.path: value for variable, value in zip(variables, [*state, *other], strict=True)}
    encoder = model.bert
    return (
        [values[variable.path] for variable in encoder.trainable_variables],
        [values[variable.path] for variable in encoder.non_trainable_variables],
    )


def _masked_loss(logits, targets):
    import jax
    import jax.numpy as jnp

    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    losses = -jnp.take_along_axis(log_probabilities, targets["mask_ids"][..., None], -1)[..., 0]
    return (losses * targets["mask_weights"]).sum() / targets["mask_weights"].sum()


def work_off_peak(turns):
    """The process that tells the rate of bfloat16 products: of 8192³ on an accelerator, 1024³ elsewhere."""
    import jax
    import jax.numpy as jnp

    device = jax.devices()[0]
    size = 1024 if device.platform == "cpu" else 8192
    sides = [jax.random.normal(jax.random.key(n), [size] * 2, jnp.bfloat16) for n in range(2)]
    product = jax.jit(jnp.matmul)
    product(*sides).block_until_ready()
    turns.introduce(device=f"{device.device_kind} ({device.platform})")
    while True:
        rates = []
        for _ in range(10):
            began = time.perf_counter()
            product(*sides).block_until_ready()
            rates.append(2 * size**3 / (time.perf_counter() - began))
        turns.end(flops=statistics.median(rates))
