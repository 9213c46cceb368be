"""Configurations of language models that are as small as their layouts allow."""

COMMON = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}


def llama_config(**changes):
    """Return the configuration of a Llama with tied weights."""
    import transformers

    options = {**COMMON, "num_key_value_heads": 1, "tie_word_embeddings": True, **changes}
    return transformers.LlamaConfig(**options)


def gpt2():
    """Return a GPT-2 of 2 layers, with dropout, initialized by torch's random state."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=32,
        n_positions=16,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    return transformers.GPT2LMHeadModel(config)
