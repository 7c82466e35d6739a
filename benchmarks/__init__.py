"""Measurements. `python -m benchmarks` is `make bench`; `front_door` and `json_codec` look at parts by themselves."""
