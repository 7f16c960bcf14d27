"""What of the chosen sampling cannot work with a family of motion modules, in sentences."""

from __future__ import annotations

from animatediff_ext.motion.families import Family


def advice(
    family: Family, *, sampler: str, schedule: str = "Automatic", cfg: float, num_steps: int, context_length: int
) -> list[str]:
    """Nothing where all is well. Names are those of the WebUI; a schedule may also be a part of the sampler's name."""
    wanted, said = family.sampling, []
    if wanted is None:
        return said
    chosen = sampler if schedule == "Automatic" else f"{sampler} {schedule}"
    # a name without a schedule leaves that open
    if wanted.samplers and not {chosen.lower(), sampler.lower()} & {name.lower() for name in wanted.samplers}:
        said.append(f"the sampler is {chosen}, but it needs {wanted.samplers[0]}")
    if wanted.most_cfg is not None and cfg > wanted.most_cfg:
        said.append(f"CFG is {cfg:g}, but above {wanted.most_cfg:g} its colours burn out")
    if wanted.steps and num_steps not in wanted.steps:
        said.append(f"there are {num_steps} steps, but it was made for {_listed(wanted.steps)}")
    if wanted.context_length and context_length != wanted.context_length:
        said.append(f"the context has {context_length} frames, but it was trained on {wanted.context_length}")
    return [f"{family.title}: {sentence}." for sentence in said]


def _listed(steps) -> str:
    return f"{steps[0]} to {steps[-1]}" if isinstance(steps, range) else ", ".join(map(str, steps))
