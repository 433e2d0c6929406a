"""What an engine tells of a model's file."""

from __future__ import annotations

from subject import Subject, occupied, opened

from reconciler.vram import geometry_of, header_of_fact, ollama_server, ollama_settings, predict


async def the_header_of_a_wanted_model_is_told_and_of_its_files_size(subject: Subject) -> None:
    async with opened(subject.spec) as engine:
        facts = await engine.observe([subject.first])
        (found,) = [model for model in facts.installed or () if model.name == subject.first]
        assert found.header is not None
        header = header_of_fact(found.header)
        settings = ollama_settings(ollama_server(facts.build, {}, None, ()), geometry_of(header), 2048)
        assert settings is not None
        (card,) = predict(geometry_of(header), settings).cards
        assert card.high is not None
        size = found.size_bytes or 0
        assert 0.7 * size < sum(tensor.bytes for tensor in header.tensors) <= 1.1 * size
        assert occupied(facts) == set()
