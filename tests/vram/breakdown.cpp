// What llama.cpp itself says that a load takes, without allocating anything: the source of the rows in data/more_b11434.csv.
//
// Build llama.cpp with -DGGML_RPC=ON -DBUILD_SHARED_LIBS=ON (target llama) into B from source S, then
//   g++ -std=c++17 -I S/include -I S/src -I S/ggml/include breakdown.cpp -o breakdown -L B/bin -lllama -lggml -lggml-base -lggml-rpc
// Start `ggml-rpc-server -H 127.0.0.1 -p 50961`: it is the card. Then write one load a line to `breakdown 127.0.0.1:50961`:
//   FILE LAYERS_ON_CARD CELLS SEQUENCES KEY_TYPE VALUE_TYPE FLASH_ATTENTION UBATCH OUTPUT_ROWS UNIFIED
// and read, a line each: OK, then bytes of weights, context and compute on the host, then on the card; or ERR.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "ggml-backend.h"
#include "ggml-rpc.h"
#include "ggml.h"
#include "llama-ext.h"
#include "llama.h"

static ggml_type type_of(const std::string & name) {
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        if (ggml_type_name((ggml_type) type) && name == ggml_type_name((ggml_type) type)) return (ggml_type) type;
    }
    fprintf(stderr, "no type %s\n", name.c_str());
    exit(1);
}

int main(int count, char ** arguments) {
    if (count != 2) return fprintf(stderr, "usage: breakdown HOST:PORT\n"), 1;
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
    }, nullptr);
    ggml_backend_load_all();
    llama_backend_init();
    ggml_backend_reg_t registry = ggml_backend_rpc_add_server(arguments[1]);
    if (!registry) return fprintf(stderr, "no server at %s\n", arguments[1]), 1;
    ggml_backend_register(registry);
    ggml_backend_dev_t cards[] = {ggml_backend_reg_dev_get(registry, 0), nullptr};

    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream in(line);
        std::string file, keys, values;
        int layers, attention, unified;
        unsigned cells, sequences, ubatch, rows;
        in >> file >> layers >> cells >> sequences >> keys >> values >> attention >> ubatch >> rows >> unified;

        llama_model_params of_model = llama_model_default_params();
        of_model.no_alloc = true;
        of_model.load_mode = LLAMA_LOAD_MODE_NONE;
        of_model.n_gpu_layers = layers;
        of_model.devices = cards;
        llama_model * model = llama_model_load_from_file(file.c_str(), of_model);

        llama_context_params wanted = llama_context_default_params();
        wanted.n_ctx = cells;
        wanted.n_seq_max = sequences;
        wanted.type_k = type_of(keys);
        wanted.type_v = type_of(values);
        wanted.flash_attn_type = attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
        wanted.n_batch = 2048;
        wanted.n_ubatch = ubatch;
        wanted.n_outputs_max = rows;
        wanted.kv_unified = unified;
        wanted.swa_full = false;
        llama_context * context = model ? llama_init_from_model(model, wanted) : nullptr;
        if (!context) {
            printf("ERR\n");
        } else {
            llama_memory_breakdown_data host, card;
            for (const auto & [buffer, bytes] : llama_get_memory_breakdown(context)) {
                llama_memory_breakdown_data & place = ggml_backend_buft_get_device(buffer) == cards[0] ? card : host;
                place.model += bytes.model;
                place.context += bytes.context;
                place.compute += bytes.compute;
            }
            printf("OK %zu %zu %zu %zu %zu %zu\n", host.model, host.context, host.compute, card.model, card.context, card.compute);
            llama_free(context);
        }
        fflush(stdout);
        if (model) llama_model_free(model);
    }
}
