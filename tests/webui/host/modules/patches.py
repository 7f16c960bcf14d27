originals: dict[str, dict] = {}


def patch(key, obj, field, replacement):
    if original(key, obj, field) is not None:
        raise RuntimeError(f"patch for {field} is already applied")
    originals.setdefault(key, {})[obj, field] = getattr(obj, field)
    setattr(obj, field, replacement)


def undo(key, obj, field):
    setattr(obj, field, originals[key].pop((obj, field)))


def original(key, obj, field):
    return originals.get(key, {}).get((obj, field))
