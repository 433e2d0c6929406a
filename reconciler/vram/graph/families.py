"""Which function makes the graph of which architecture. One that is not here has no known compute buffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from reconciler.vram.geometry import Geometry
from reconciler.vram.graph.branches import (
    afmoe_graph,
    arctic_graph,
    bitnet_graph,
    deci_graph,
    diffusion_graph,
    grok_graph,
    smallthinker_graph,
)
from reconciler.vram.graph.decoders import plain_graph
from reconciler.vram.graph.delta import delta_graph, delta_head_graph
from reconciler.vram.graph.encoders import bert_graph, pre_norm_graph
from reconciler.vram.graph.gemma3n import gemma3n_graph
from reconciler.vram.graph.gemma4 import gemma4_graph
from reconciler.vram.graph.indexed import indexed_graph
from reconciler.vram.graph.kda import kda_graph
from reconciler.vram.graph.latent import deepseek2_graph, minicpm3_graph
from reconciler.vram.graph.lightning import lightning_graph
from reconciler.vram.graph.plain import PLAIN
from reconciler.vram.graph.plamo2 import plamo2_graph
from reconciler.vram.graph.recurrent import hybrid_graph, lfm2_graph, mamba_graph, nemotron_h_graph
from reconciler.vram.graph.rwkv import rwkv_graph, rwkv_qwen_graph
from reconciler.vram.graph.t5 import t5_encoder_graph, t5_graph
from reconciler.vram.graph.tensor import Graph
from reconciler.vram.graph.variants import chameleon_graph, grove_graph, hrm_graph, looped_graph, talkie_graph
from reconciler.vram.settings import RunSettings

MakesGraph = Callable[[Geometry, RunSettings], Graph]

GRAPHS: Mapping[str, MakesGraph] = MappingProxyType(
    {
        **dict.fromkeys(PLAIN, plain_graph),
        **dict.fromkeys(("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3"), bert_graph),
        **dict.fromkeys(("modern-bert", "eurobert", "gemma-embedding", "neo-bert"), pre_norm_graph),
        **dict.fromkeys(("deepseek2", "mistral4"), deepseek2_graph),
        **dict.fromkeys(("deepseek32", "glm-dsa"), indexed_graph),
        "minicpm3": minicpm3_graph,
        **dict.fromkeys(("mamba", "mamba2"), mamba_graph),
        **dict.fromkeys(("rwkv6", "rwkv7"), rwkv_graph),
        **dict.fromkeys(("rwkv6qwen2", "arwkv7"), rwkv_qwen_graph),
        **dict.fromkeys(("jamba", "falcon-h1", "granitehybrid"), hybrid_graph),
        **dict.fromkeys(("nemotron_h", "nemotron_h_moe"), nemotron_h_graph),
        **dict.fromkeys(("qwen3next", "qwen35", "qwen35moe"), delta_graph),
        **dict.fromkeys(("kimi-linear", "bailingmoe3"), kda_graph),
        "minimax-01": lightning_graph,
        "plamo2": plamo2_graph,
        "t5": t5_graph,
        "t5encoder": t5_encoder_graph,
        "talkie": talkie_graph,
        "chameleon": chameleon_graph,
        "grovemoe": grove_graph,
        "nanbeige": looped_graph,
        "hrm_text": hrm_graph,
        "afmoe": afmoe_graph,
        "arctic": arctic_graph,
        "bitnet": bitnet_graph,
        "deci": deci_graph,
        "grok": grok_graph,
        "smallthinker": smallthinker_graph,
        **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1", "llama-embed"), diffusion_graph),
        "gemma3n": gemma3n_graph,
        "gemma4": gemma4_graph,
        **dict.fromkeys(("lfm2", "lfm2moe"), lfm2_graph),
    }
)

HEAD_GRAPHS: Mapping[str, MakesGraph] = MappingProxyType({"qwen35": delta_head_graph, "qwen35moe": delta_head_graph})
"""The graph of a head that drafts (MTP). Of other architectures it is not worked out."""
