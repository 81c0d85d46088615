"""kbert's side of gpu.py: the models on JAX, their steps compiled as one function."""

import statistics
import time

from speed.device_rows import Rows


def work_off(case, config, steps, turns):
    """A candidate's process: `steps` steps a turn."""
    import jax
    import keras

    from kbert.models import Bert, BertMaskedLM

    keras.utils.set_random_seed(1)
    kind = BertMaskedLM if case.trains else Bert
    model = kind(config, dtype="mixed_bfloat16")
    model.build()
    inputs, targets = jax.device_put(Rows(case.batch_size, case.length, case.documents).packed())
    (_train if case.trains else _answer)(model, inputs, targets, steps, turns)


def _train(model, inputs, targets, steps, turns):
    import jax
    import keras

    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    state, other = _values(model.trainable_variables), _values(model.non_trainable_variables)
    of_optimizer = _values(optimizer.variables)

    # Weights and rows are arguments: what a compiled function closes over, XLA would hold as constants.
    def loss_of(state, other, inputs, targets):
        outputs, other = model.stateless_call(state, other, inputs, training=True, scores_only=True)
        return _masked_loss(outputs["mlm_logits"], targets), other

    def step(state, other, of_optimizer, inputs, targets):
        (loss, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(state, other, inputs, targets)
        state, of_optimizer = optimizer.stateless_apply(of_optimizer, gradients, state)
        return loss, state, other, of_optimizer

    step = jax.jit(step, donate_argnums=(0, 1, 2))
    turns.introduce()
    while True:
        for _ in range(steps):
            loss, state, other, of_optimizer = step(state, other, of_optimizer, inputs, targets)
        turns.end(loss=float(loss))  # Waits for the device.


def _answer(model, inputs, targets, steps, turns):
    import jax

    inputs = {"token_ids": inputs["token_ids"]}

    @jax.jit
    def call(state, other, inputs):
        return model.stateless_call(state, other, inputs, training=False)[0]["sequence_output"]

    state, other = _values(model.trainable_variables), _values(model.non_trainable_variables)
    turns.introduce()
    while True:
        for _ in range(steps):
            hidden = call(state, other, inputs)
        hidden.block_until_ready()
        turns.end()


def _values(variables):
    return [variable.value for variable in variables]


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
