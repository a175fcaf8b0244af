"""Every model of the registry has licence facts, and they agree with what its entry says."""

from __future__ import annotations

import math

import pytest

from course_lib.pipelines import LICENCES, REGISTRY, TRAINING_DATA, licence_of


def test_each_model_has_a_licence_with_a_source_and_no_licence_is_unused():
    found = {licence_of(name).name for name in REGISTRY}
    assert found == set(LICENCES)
    assert all(licence.source.startswith("https://") for licence in LICENCES.values())
    assert set(TRAINING_DATA) <= set(REGISTRY)


def test_the_facts_agree_with_the_names_and_notes_of_the_registry():
    for name, spec in REGISTRY.items():
        licence = licence_of(name)
        assert licence.commercial == ("Non-Commercial" not in spec.licence)
        assert ("commercial use" in spec.note) == (not licence.commercial)
        assert licence.restricts == (spec.licence not in ("CC BY 4.0", "Apache 2.0"))
    limits = {name: licence_of(name).revenue_limit for name in REGISTRY}
    assert limits.pop("sd-turbo") == 1e6 and set(limits.values()) == {math.inf}


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="sd16"):
        licence_of("sd16")
