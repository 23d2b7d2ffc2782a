"""Models of other frameworks to .mgm: readers, planning, writing; see docs/model-format.md."""
