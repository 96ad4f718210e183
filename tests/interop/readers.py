"""Our readers of pretrained models against the programs that write them.

usage: readers.py DUMP_MODEL [MODEL...]     needs numpy, torch, transformers, safetensors, gguf
Makes small models with random weights of each architecture, saves them in every way that is read, and compares each
tensor that DUMP_MODEL (build/tests/dump_model) reads with the one that was saved, bit for bit. A forward pass in NumPy
over what was read has to give the logits of transformers. MODEL: GGUF files, compared tensor by tensor with gguf's reader,
and Hugging Face folders, compared with transformers.
"""
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy
import torch
import transformers
from gguf.quants import dequantize, quantize

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
dump, files = pathlib.Path(sys.argv[1]), sys.argv[2:]
torch.set_num_threads(1)
random = numpy.random.Generator(numpy.random.PCG64(3))
compared = {"tensors": 0, "models": 0, "logits": 0}
worst = 0.0


def read(path):
    """Settings and tensors as our program reads them."""
    done = subprocess.run([dump, "model", path], capture_output=True)
    if done.returncode:
        sys.exit(f"{path}: {done.stderr.decode()}")
    data = done.stdout
    at = data.index(b"\n\n") + 2
    config = {}
    for line in data[:at - 2].decode().splitlines():
        key, *values = line.split(" ")
        config[key] = values[0] if key == "arch" else [float(v) for v in values if v]
        if key not in ("arch", "eos", "rope_factors"):
            config[key] = config[key][0]
    tensors = {}
    while at < len(data):
        end = data.index(b"\n", at)
        name, rows, columns, _ = data[at:end].decode().split(" ", 3)
        count = int(rows) * int(columns)
        tensors[name] = numpy.frombuffer(data, numpy.float32, count, end + 1).reshape(int(rows), int(columns))
        at = end + 1 + 4 * count
    compared["models"] += 1
    return config, tensors


def equal(what, got, wanted):
    """wanted: name to array; every tensor there and no other, bit for bit."""
    if got.keys() != wanted.keys():
        sys.exit(f"{what}: names differ: {sorted(got.keys() ^ wanted.keys())}")
    for name, value in wanted.items():
        value = numpy.asarray(value, numpy.float32)
        value = value.reshape(len(value), -1)
        if got[name].shape != value.shape or got[name].tobytes() != value.tobytes():
            sys.exit(f"{what}: {name} differs: {got[name].shape} {value.shape}")
        compared["tensors"] += 1


# ---- our names of a state dictionary's tensors, written anew ----

def gated_names(state, layers):
    parts = {"attn.q": "self_attn.q_proj", "attn.k": "self_attn.k_proj", "attn.v": "self_attn.v_proj", "attn.o": "self_attn.o_proj",
             "mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj"}
    vectors = {"norm1.weight": "input_layernorm.weight", "norm2.weight": "post_attention_layernorm.weight",
               "attn.q_norm": "self_attn.q_norm.weight", "attn.k_norm": "self_attn.k_norm.weight"}
    out = {"tok_emb": state["model.embed_tokens.weight"], "norm_f.weight": state["model.norm.weight"]}
    for i in range(layers):
        for ours, theirs in parts.items():
            out[f"blocks.{i}.{ours}"] = state[f"model.layers.{i}.{theirs}.weight"]
            if f"model.layers.{i}.{theirs}.bias" in state:
                out[f"blocks.{i}.{ours}.bias"] = state[f"model.layers.{i}.{theirs}.bias"]
        for ours, theirs in vectors.items():
            if f"model.layers.{i}.{theirs}" in state:
                out[f"blocks.{i}.{ours}"] = state[f"model.layers.{i}.{theirs}"]
    if "lm_head.weight" in state:
        out["head"] = state["lm_head.weight"]
    return out


def gpt2_names(state, layers):
    out = {"tok_emb": state["transformer.wte.weight"], "pos_emb.weight": state["transformer.wpe.weight"],
           "norm_f.weight": state["transformer.ln_f.weight"], "norm_f.bias": state["transformer.ln_f.bias"]}
    for i in range(layers):
        at = f"transformer.h.{i}."
        weight, bias = state[at + "attn.c_attn.weight"].T, state[at + "attn.c_attn.bias"]
        for letter, w, b in zip("qkv", numpy.split(weight, 3), numpy.split(bias, 3)):
            out[f"blocks.{i}.attn.{letter}"], out[f"blocks.{i}.attn.{letter}.bias"] = w, b
        for ours, theirs in (("attn.o", "attn.c_proj"), ("mlp.up", "mlp.c_fc"), ("mlp.down", "mlp.c_proj")):
            out[f"blocks.{i}.{ours}"] = state[f"{at}{theirs}.weight"].T
            out[f"blocks.{i}.{ours}.bias"] = state[f"{at}{theirs}.bias"]
        for ours, theirs in (("norm1", "ln_1"), ("norm2", "ln_2")):
            for kind in ("weight", "bias"):
                out[f"blocks.{i}.{ours}.{kind}"] = state[f"{at}{theirs}.{kind}"]
    if "lm_head.weight" in state:
        out["head"] = state["lm_head.weight"]
    return out


def bert_names(state, layers):
    state = {name.removeprefix("bert.").removeprefix("roberta."): value for name, value in state.items()}
    pairs = {"attn.q": "attention.self.query", "attn.k": "attention.self.key", "attn.v": "attention.self.value",
             "attn.o": "attention.output.dense", "norm1": "attention.output.LayerNorm", "mlp.up": "intermediate.dense",
             "mlp.down": "output.dense", "norm2": "output.LayerNorm"}
    vectors = ("norm1", "norm2")
    out = {"tok_emb": state["embeddings.word_embeddings.weight"], "pos_emb.weight": state["embeddings.position_embeddings.weight"],
           "type_emb.weight": state["embeddings.token_type_embeddings.weight"],
           "norm_emb.weight": state["embeddings.LayerNorm.weight"], "norm_emb.bias": state["embeddings.LayerNorm.bias"]}
    for i in range(layers):
        for ours, theirs in pairs.items():
            out[f"blocks.{i}.{ours}" + (".weight" if ours in vectors else "")] = state[f"encoder.layer.{i}.{theirs}.weight"]
            out[f"blocks.{i}.{ours}.bias"] = state[f"encoder.layer.{i}.{theirs}.bias"]
    for ours, theirs in (("pooler", "pooler.dense"), ("pooler", "classifier.dense"), ("classifier", "classifier"),
                         ("classifier", "classifier.out_proj")):
        if f"{theirs}.weight" in state:
            out[ours], out[f"{ours}.bias"] = state[f"{theirs}.weight"], state[f"{theirs}.bias"]
    return out


# ---- a forward pass over what our readers give ----

def linear(t, name, x):
    y = x @ t[name].T.astype(numpy.float64)
    return y + t[name + ".bias"][:, 0] if name + ".bias" in t else y


def norm(c, t, name, x):
    weight = t[name + ".weight" if name + ".weight" in t else name][:, 0]
    if c["rms_norm"]:
        return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + c["norm_eps"]) * weight
    x = x - x.mean(-1, keepdims=True)
    return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + c["norm_eps"]) * weight + t[name + ".bias"][:, 0]


def stretch(c, wave):
    kind, factor = c["rope_scaling"], c["rope_factor"]
    if kind == 0:
        return 1.0
    if kind == 1 or wave > c["rope_original"] / c["rope_low"]:
        return factor
    if wave < c["rope_original"] / c["rope_high"]:
        return 1.0
    smooth = (c["rope_original"] / wave - c["rope_low"]) / (c["rope_high"] - c["rope_low"])
    return 1 / ((1 - smooth) / factor + smooth)


def rotate(c, x):
    half = int(c["head_dim"]) // 2
    turn = c["rope_base"] ** (-numpy.arange(half) / half)
    turn = turn / (c["rope_factors"] or [stretch(c, 2 * numpy.pi / f) for f in turn])
    angle = numpy.arange(x.shape[0])[:, None, None] * turn
    low, high = x[..., :half], x[..., half:]
    return numpy.concatenate([low * numpy.cos(angle) - high * numpy.sin(angle), high * numpy.cos(angle) + low * numpy.sin(angle)], -1)


def attention(c, t, at, x, causal):
    time, heads, kv, size = len(x), int(c["heads"]), int(c["kv_heads"]), int(c["head_dim"])
    q, k, v = (linear(t, f"{at}.{letter}", x).reshape(time, n, size) for letter, n in (("q", heads), ("k", kv), ("v", kv)))
    if c["qk_norm"]:
        q, k = norm({**c, "rms_norm": 1}, t, f"{at}.q_norm", q), norm({**c, "rms_norm": 1}, t, f"{at}.k_norm", k)
    if c["rope_base"]:
        q, k = rotate(c, q), rotate(c, k)
    k, v = k.repeat(heads // kv, 1), v.repeat(heads // kv, 1)
    score = numpy.einsum("thd,shd->hts", q, k) / numpy.sqrt(size)
    back = numpy.arange(time)[:, None] - numpy.arange(time)[None]
    hidden = (back < 0 if causal else back < -time) | ((back >= c["sliding_window"]) & (c["sliding_window"] > 0))
    score = numpy.where(hidden, -numpy.inf, score)
    share = numpy.exp(score - score.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return linear(t, f"{at}.o", numpy.einsum("hts,shd->thd", share, v).reshape(time, -1))


def act(kind, x):
    x = torch.from_numpy(x)
    return {1: lambda: torch.nn.functional.gelu(x, approximate="tanh"), 2: lambda: torch.nn.functional.gelu(x),
            3: lambda: torch.relu(x)}[int(kind)]().numpy()


def mlp(c, t, at, x):
    up = linear(t, f"{at}.up", x)
    if c["act"] == 0:
        gate = linear(t, f"{at}.gate", x)
        return linear(t, f"{at}.down", gate / (1 + numpy.exp(-gate)) * up)
    return linear(t, f"{at}.down", act(c["act"], up))


def forward(c, t, tokens):
    x = t["tok_emb"][tokens].astype(numpy.float64)
    if "pos_emb.weight" in t:
        x = x + t["pos_emb.weight"][int(c["first_position"]):][:len(tokens)]
    post = c["post_norm"]
    if post:
        x = norm(c, t, "norm_emb", x + t["type_emb.weight"][0])
    for i in range(int(c["layers"])):
        for at, part in (("norm1", lambda y: attention(c, t, f"blocks.{i}.attn", y, not post)),
                         ("norm2", lambda y: mlp(c, t, f"blocks.{i}.mlp", y))):
            name = f"blocks.{i}.{at}"
            x = norm(c, t, name, x + part(x)) if post else x + part(norm(c, t, name, x))
    if post:
        return linear(t, "classifier", numpy.tanh(linear(t, "pooler", x[:1])))
    return norm(c, t, "norm_f", x) @ t["head" if "head" in t else "tok_emb"].T


def agree(what, model, config, tensors):
    """Logits of the model as transformers computes them."""
    global worst
    tokens = random.integers(2, int(config["vocab"]), 24)
    with torch.no_grad():
        wanted = model(torch.from_numpy(tokens)[None]).logits[0].numpy()
    error = abs(forward(config, tensors, tokens) - wanted).max() / abs(wanted).max()
    worst = max(worst, error)
    compared["logits"] += 1
    if not error < 1e-4:
        sys.exit(f"{what}: logits differ by {error:g}")


# ---- models ----

def randomised(model):
    """Norms and biases too, which begin as ones and zeros."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3 + ("norm" in name.lower() or "ln_" in name))
    return model.eval()


def state_of(model, tied):
    state = {name: value.float().numpy() for name, value in model.state_dict().items()}
    if tied:
        state.pop("lm_head.weight", None)
    return state


gated = dict(vocab_size=120, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
             max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
llama3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
gpt = dict(vocab_size=120, n_embd=48, n_layer=3, n_head=6, n_positions=64, bos_token_id=1, eos_token_id=2)
bert = dict(vocab_size=120, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, max_position_embeddings=64,
            num_labels=3)
t = transformers
models = {
    "llama": (t.LlamaForCausalLM, t.LlamaConfig(**gated), gated_names),
    "llama-tied-scaled": (t.LlamaForCausalLM, t.LlamaConfig(**gated, tie_word_embeddings=True, rope_parameters=llama3, head_dim=16), gated_names),
    "llama-linear-biases": (t.LlamaForCausalLM, t.LlamaConfig(**gated, attention_bias=True, mlp_bias=True, rope_parameters={
        "rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}), gated_names),
    "mistral": (t.MistralForCausalLM, t.MistralConfig(**gated, sliding_window=7), gated_names),
    "qwen2": (t.Qwen2ForCausalLM, t.Qwen2Config(**gated, tie_word_embeddings=True), gated_names),
    "qwen3": (t.Qwen3ForCausalLM, t.Qwen3Config(**gated, head_dim=32), gated_names),
    "gpt2": (t.GPT2LMHeadModel, t.GPT2Config(**gpt), gpt2_names),
    "gpt2-erf": (t.GPT2LMHeadModel, t.GPT2Config(**gpt, activation_function="gelu", n_inner=80), gpt2_names),
    "bert": (t.BertForSequenceClassification, t.BertConfig(**bert), bert_names),
    "roberta": (t.RobertaForSequenceClassification, t.RobertaConfig(**bert), bert_names),
}


# ---- GGUF ----

def pairs(weight, heads):
    """Rows as llama.cpp wants them: halves of a head become neighbours."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def unpairs(weight, heads):
    shape = weight.shape
    return weight.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write_gguf(path, arch, config, state, kind):
    """As convert_hf_to_gguf does it; matrices of the type `kind`. Returns the numbers that the file then holds."""
    theirs = {gguf.MODEL_ARCH_NAMES[a]: a for a in gguf.MODEL_ARCH}[arch]
    writer = gguf.GGUFWriter(path, arch)
    names = gguf.get_tensor_name_map(theirs, config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    held = {}
    if arch == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(size)
        writer.add_key_length(size)
        writer.add_value_length(size)
        writer.add_vocab_size(config.vocab_size)
        if config.rope_parameters["rope_type"] == "llama3":
            turn = 1 / config.rope_parameters["rope_theta"] ** (numpy.arange(0, size, 2) / size)
            rule = {f"rope_{k}": config.rope_parameters[v] for k, v in (
                ("factor", "factor"), ("low", "low_freq_factor"), ("high", "high_freq_factor"), ("original", "original_max_position_embeddings"))}
            factors = numpy.array([stretch({**rule, "rope_scaling": 2}, 2 * numpy.pi / f) for f in turn], numpy.float32)
            writer.add_tensor("rope_freqs.weight", factors)
    for name, value in state.items():
        if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            value = value.T
        heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", 0)}.get(
            name.split(".")[-2] if "." in name else "", 0)
        if arch == "llama" and heads:
            value = pairs(value, heads)
        value = numpy.ascontiguousarray(value)
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        quantised = kind if value.ndim == 2 and value.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0 else gguf.GGMLQuantizationType.F32
        if quantised.name.endswith("_K"):  # gguf cannot make these: random blocks
            raw = random.integers(0, 256, (len(value), gguf.quant_shape_to_byte_shape(value.shape, quantised)[-1]), dtype=numpy.uint8)
            for at in {"Q6_K": [208]}.get(quantised.name, [0, 2]):
                block = raw.reshape(-1, gguf.GGML_QUANT_SIZES[quantised][1])
                block[:, at:at + 2] = random.normal(0, 0.01, len(block)).astype(numpy.float16).view(numpy.uint8).reshape(-1, 2)
        else:
            raw = quantize(value, quantised)
        writer.add_tensor(new, raw, raw_dtype=quantised)
        back = dequantize(raw, quantised)
        if arch == "llama" and heads:
            back = unpairs(back, heads)
        held[name] = back.T if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")) else back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def check_gguf(place, what, arch, model, config, state, names, tied):
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"):
        path = place / f"{what}-{kind}.gguf"
        held = write_gguf(path, arch, config, state, gguf.GGMLQuantizationType[kind])
        got_config, got = read(path)
        equal(path.name, got, names(held, config.num_hidden_layers))
        if bool(got_config["tied"]) != tied:
            sys.exit(f"{path.name}: tied is {got_config['tied']}")
        if kind == "F32":
            agree(path.name, model, got_config, got)


def wide(what):
    """A model whose rows are whole blocks of 256, for all formats of GGUF."""
    kind, config, names = models[what]
    bigger = dict(vocab_size=120, num_hidden_layers=2, bos_token_id=1, eos_token_id=2, tie_word_embeddings=config.tie_word_embeddings)
    if what == "gpt2":
        bigger.update(n_embd=256, n_head=4, n_positions=64)
    else:
        bigger.update(hidden_size=256, intermediate_size=512, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                      rope_parameters=config.rope_parameters)
    if what == "qwen3":
        bigger.update(head_dim=128)
    if what == "llama-tied-scaled":
        bigger.update(rope_parameters={**llama3, "original_max_position_embeddings": 8192})
    return kind, type(config)(**bigger), names


def check_folder(place, what):
    kind, config, names = models[what]
    torch.manual_seed(1)
    model = randomised(kind(config))
    tied = config.tie_word_embeddings
    for dtype, shards in ((torch.float32, None), (torch.float16, None), (torch.bfloat16, None), (torch.float32, "50KB")):
        folder = place / f"{what}-{dtype}-{shards}"
        stored = kind(config)
        stored.load_state_dict(model.state_dict())
        stored.to(dtype).save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
        if shards and len(list(folder.glob("*.safetensors"))) < 2:
            sys.exit(f"{folder}: not sharded")
        got_config, got = read(folder)
        equal(folder.name, got, names(state_of(stored, tied), config.num_hidden_layers))
        agree(folder.name, kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval(), got_config, got)


def check_real_folder(path):
    config = transformers.AutoConfig.from_pretrained(path)
    model = getattr(transformers, config.architectures[0]).from_pretrained(path, dtype="auto")
    names = {"gpt2": gpt2_names, "bert": bert_names, "roberta": bert_names}.get(config.model_type, gated_names)
    equal(path, read(path)[1], names(state_of(model, config.tie_word_embeddings), config.num_hidden_layers))


def check_real(path):
    reader = gguf.GGUFReader(path)
    config, got = read(path)
    names = {"token_embd.weight": "tok_emb", "output.weight": "head", "output_norm.weight": "norm_f.weight"}
    parts = {"attn_norm.weight": "norm1.weight", "ffn_norm.weight": "norm2.weight", "attn_q.weight": "attn.q", "attn_k.weight": "attn.k",
             "attn_v.weight": "attn.v", "attn_output.weight": "attn.o", "ffn_gate.weight": "mlp.gate", "ffn_up.weight": "mlp.up",
             "ffn_down.weight": "mlp.down", "attn_q.bias": "attn.q.bias", "attn_k.bias": "attn.k.bias", "attn_v.bias": "attn.v.bias",
             "attn_q_norm.weight": "attn.q_norm", "attn_k_norm.weight": "attn.k_norm"}
    wanted = {}
    for tensor in reader.tensors:
        value = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.startswith("blk."):
            _, layer, rest = tensor.name.split(".", 2)
            heads = {"attn_q": config["heads"], "attn_k": config["kv_heads"]}.get(rest.split(".")[0])
            wanted[f"blocks.{layer}.{parts[rest]}"] = unpairs(value, int(heads)) if heads and config["arch"] == "llama" else value
        elif tensor.name != "rope_freqs.weight":
            wanted[names[tensor.name]] = value
    equal(path, got, wanted)


def check_blocks():
    """Many more blocks than the committed golden ones."""
    for kind in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
        numbers = random.normal(0, 1, (20000, width)) * 10.0 ** random.uniform(-12, 4, (20000, 1))
        numbers = numbers.clip(-6e4, 6e4).astype(numpy.float32)
        with numpy.errstate(all="ignore"):
            wanted = quantize(numbers, gguf.GGMLQuantizationType[kind]).tobytes()
        got = subprocess.run([dump, "encode", kind], input=numbers.tobytes(), capture_output=True, check=True).stdout
        if got != wanted:
            sys.exit(f"{kind}: blocks differ")


with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    for what in models:
        check_folder(place, what)
    for what, arch in (("llama", "llama"), ("llama-tied-scaled", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gpt2", "gpt2")):
        kind, config, names = wide(what)
        model = randomised(kind(config))
        check_gguf(place, what, arch, model, config, state_of(model, config.tie_word_embeddings), names, config.tie_word_embeddings)
check_blocks()
for path in files:
    (check_real_folder if pathlib.Path(path).is_dir() else check_real)(path)
print(f"{compared['models']} models read, {compared['tensors']} tensors equal, {compared['logits']} forward passes, "
      f"largest relative error of logits {worst:.1e}")
