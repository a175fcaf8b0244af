"""Melodies, what is computed from their sound, and the adapter to a prompt's word."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib.mini import melody
from course_lib.mini.melody import (
    EXPRESSIONS,
    SAMPLE_RATE,
    chroma,
    melody_features,
    onsets_per_second,
    random_melodies,
    synthesise,
    train_adapter,
    word_embeddings,
)


def test_a_melody_is_sound_in_its_key_and_repeatable():
    wave = synthesise("minor", notes_per_second=3, tonic=57, seed=4)
    assert wave.shape == (10240,) and wave.dtype == np.float32 and np.abs(wave).max() <= 1
    np.testing.assert_array_equal(wave, synthesise("minor", notes_per_second=3, seed=4))
    for mode, third, other in (("major", 4, 3), ("minor", 3, 4)):
        for seed in range(4):
            wave = synthesise(mode, notes_per_second=7, tonic=60, seed=seed)
            power, frequencies = melody._power(wave.astype(float), SAMPLE_RATE)
            shares = chroma(power, frequencies)  # of C, C#, ...
            assert shares[third] > 2 * shares[other] and shares[0] > 0.25


def test_chroma_of_pure_tones_and_octaves():
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for note in (50, 57, 64, 69, 77):  # as MIDI numbers, 147 to 698 Hz
        tone = np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * t)
        shares = chroma(*melody._power(tone, SAMPLE_RATE))
        assert shares.argmax() == note % 12 and shares[note % 12] > 0.9
        assert shares.sum() == pytest.approx(1)
    two = np.sin(2 * np.pi * 220 * t) + np.sin(2 * np.pi * 880 * t)
    assert chroma(*melody._power(two, SAMPLE_RATE))[9] > 0.95  # both are A


def test_onsets_are_the_notes_that_were_played():
    rng = np.random.default_rng(0)
    for k in range(20):
        rate = rng.uniform(2, 8)
        wave = synthesise("major", notes_per_second=rate, tonic=int(rng.integers(52, 64)), seed=k)
        played = len(np.arange(0, melody.SECONDS - 0.5 / rate, 1 / rate))
        assert abs(onsets_per_second(wave) * melody.SECONDS - played) <= 1.01, (rate, k)


def test_features_forget_the_key_and_the_loudness():
    low, high = (synthesise("major", tonic=tonic, seed=3) for tonic in (53, 60))
    first, second = melody_features(low), melody_features(high)
    assert first.shape == (15,) and first.dtype == torch.float32
    torch.testing.assert_close(first[:12], second[:12], atol=0.15, rtol=0)  # chroma, rolled
    assert abs(first[12] - second[12]) < 1 and second[14] - first[14] == pytest.approx(
        7 / 12, abs=0.05
    )
    torch.testing.assert_close(melody_features(0.3 * low), first, atol=1e-4, rtol=1e-4)


def test_two_layers_learn_what_one_cannot():
    """What "fast" means depends on the mode: a linear map lands beside the words."""
    words = list(EXPRESSIONS.values())
    table = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))
    error = {}
    train, unseen = random_melodies(128, seed=0), random_melodies(64, seed=1)
    x, y = (torch.stack([melody_features(m.wave) for m in part]) for part in (train, unseen))
    targets = torch.stack([table[words.index(m.expression)] for m in train])
    wanted = torch.tensor([words.index(m.expression) for m in unseen])
    for hidden in (0, 32):
        adapter = train_adapter(x, targets, hidden=hidden)
        error[hidden] = (adapter(y) - table[wanted]).square().mean() / targets.var()
        assert not adapter.layers[0].weight.requires_grad
    found = torch.cdist(adapter(y), table).argmin(dim=1)
    assert (found == wanted).float().mean() > 0.9
    assert error[32] < 0.15 and error[32] < 0.6 * error[0]
    assert {(m.mode, m.tempo) for m in train} == set(EXPRESSIONS)


def test_word_embeddings_are_rows_of_the_text_encoders_table(tokenizer):
    encoder = torch.nn.Module()
    table = torch.nn.Embedding(len(tokenizer), 6)
    encoder.get_input_embeddings = lambda: table
    pipe = SimpleNamespace(tokenizer=tokenizer, text_encoder=encoder)
    words = [t.removesuffix("</w>") for t in tokenizer.get_vocab() if t in ("man</w>", "a</w>")]
    assert words
    rows = word_embeddings(pipe, words)
    for word, row in zip(words, rows, strict=True):
        number = tokenizer.convert_tokens_to_ids(word + "</w>")
        torch.testing.assert_close(row, table.weight[number].detach())
    with pytest.raises(ValueError, match="'qqq' has 3 tokens; use a word of one token"):
        word_embeddings(pipe, ["qqq"])


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.zeros(0), "the melody is empty; give at least 2000 samples"),
        (np.ones(800), "the melody lasts 0.10 s; give at least"),
        (np.zeros(4000), "silent or holds NaN"),
        (np.full(4000, np.nan), "silent or holds NaN"),
        (np.ones((4000, 2)), "one channel"),
    ],
)
def test_bad_sound_is_one_sentence(wave, sentence):
    with pytest.raises(ValueError, match=sentence):
        melody_features(wave)


def test_bad_settings_are_one_sentence():
    with pytest.raises(ValueError, match="mode"):
        synthesise("dorian")
    with pytest.raises(ValueError, match="notes_per_second must be a number from 1 to 10"):
        synthesise(notes_per_second=0)
