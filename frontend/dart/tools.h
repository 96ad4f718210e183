/* Measuring, looking into models, sweeps, reports, and what a program around the library needs. */
#ifndef DART_PUBLIC_TOOLS_H
#define DART_PUBLIC_TOOLS_H

#include "train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- inspection and measurements ---- */

/* what: "graph", "plan", "memory", "ranks", "paths", of the model at model_path, or, where that is
 * NULL, of the recipe's fresh one. Errors: USAGE, INPUT, DEVICE, MEMORY, IO. */
DART_API DART_NODISCARD dart_status dart_inspect(const dart_recipe *recipe, const char *model_path,
    const char *what, bool json, dart_write write, void *user);

typedef struct dart_bench_options {
    size_t size;
    const char *devices; /* comma list of ids, or "all" */
    /* comma list of step, fwd, bwd, opt, infer, op, op:NAME, gemm, gemm:NN4096x4096x4096,
     * contract, attention, peak, pick */
    const char *tests;
    const char *format;     /* "md", "csv", "json", "jsonl", "sql"; "issue": md and json in one */
    const char *model_path; /* NULL or "": random weights of the recipe; else a run or checkpoint */
    uint32_t repeats;       /* measured, after a warm-up */
    uint32_t prompt, tokens; /* infer: tokens read, tokens made; 0: 512 and 128, or the context */
    bool reference;          /* measure cpu too, to compare the results with it, where it is not
                                among the devices */
    bool profile;            /* also the time of each launch, by kernel, op and layer */
    bool reserved[2];
    /* Parameters with several values, "rank=8,16,32", "layers=2-8*2", of which every combination is
     * measured: recipe keys, and prompt, tokens, depth (infer: tokens kept beforehand), threads (of
     * cpu). Ends with NULL; NULL: none. */
    const char *const *grid;
    const char *compare; /* NULL, or what an earlier call wrote as json: speeds beside it */
    const char *svg;     /* NULL, or a folder for pictures: a roofline, bars */
    const char *trace;   /* NULL, or with profile a file that Perfetto opens */
    double cool_down;    /* seconds between measurements */
} dart_bench_options;

/* Tests of models run on random tokens; a fresh model's vocab_size 0 means 10,000. Devices are
 * measured in turn, sample by sample. pick selects ranks drawn at random to the recipe's budget (0:
 * half of the parameters). Errors: USAGE, INPUT, DEVICE, MEMORY, IO; FAILED: a result differs from
 * cpu's by more than its test allows, all of them are written before. */
DART_API DART_NODISCARD dart_status dart_bench(
    const dart_recipe *recipe, const dart_bench_options *options, dart_write write, void *user);

/* ---- kernels on GPUs that need not be here ---- */

typedef struct dart_kernels_options {
    size_t size;
    const char *gpus;       /* names with commas ("amd:navi21,intel:dg2"), "amd", "all" */
    const char *model_path; /* NULL or "": the recipe's fresh model; else a run or checkpoint */
} dart_kernels_options;

typedef struct dart_kernels_gpu {
    char name[32], product[64], driver[128];
    char reason[512]; /* why no kernel was made, its compiler being not installed, say; else "" */
    uint32_t rows, failed; /* kernels, and those that the compiler did not make */
    /* Below these no training step and no generated token come: sums of the greatest of what the
     * compiler counts, of products and sums, and of bytes, launch by launch. NaN: no such program
     */
    double step_seconds, token_seconds;
} dart_kernels_gpu;

/* A kernel with its constants, as plans of a GPU use it. Figures: NaN where a compiler does not
 * say. */
typedef struct dart_kernels_row {
    uint32_t gpu;                /* its number */
    char kernel[64];             /* "gemm.shared" */
    char constants[64];          /* "16x8 TB=1 TM=4": work-group, and what is no default */
    char why[512];               /* it was not made; else "" */
    uint32_t launches_of_step;   /* of a training step */
    uint32_t launches_of_token;  /* of a generated token */
    uint32_t launches_of_others; /* of a prompt and an evaluation */
    double registers;            /* of a lane, 4 bytes each; Intel: of a thread, 32 bytes each */
    double spills;               /* registers without room, as the compiler counts them */
    double scratch;              /* bytes of memory for a lane */
    double shared;               /* bytes of work-group memory */
    double waves;                /* resident on one of a unit's schedulers */
    double width;                /* invocations of a wave */
    double instructions;         /* in the text */
    double cycles;               /* for one wave, by the compiler's own guess of loops */
    double seconds;              /* of all launches of a training step, as for a GPU's step */
} dart_kernels_row;

typedef struct dart_kernels dart_kernels; /* what compilers said */

/* Plans the model's programs (training step, evaluation, prompt, token; of an encoder-decoder and a
 * classifier the first two) for each GPU with the limits that its driver tells, and makes every
 * kernel of them with that GPU's compiler. Nothing runs, and no GPU is needed: only compilers.
 * Takes seconds to minutes. A compiler that is missing or fails is a reason or a row, not an error.
 * Child processes do the work; no other thread may open devices meanwhile. Errors: USAGE (an
 * unknown GPU), INPUT, MEMORY, IO. Free the result. */
DART_API DART_NODISCARD dart_status dart_kernels_make(
    const dart_recipe *recipe, const dart_kernels_options *options, dart_kernels **out);
/* NULL past the end; rows in the order of GPUs, of each those of the longest time first. */
DART_API const dart_kernels_gpu *dart_kernels_gpu_at(const dart_kernels *kernels, uint32_t index);
DART_API const dart_kernels_row *dart_kernels_row_at(const dart_kernels *kernels, uint32_t index);
DART_API void dart_kernels_free(dart_kernels *kernels); /* NULL: nothing */
/* Names of the GPUs that are known; NULL past the end. */
DART_API const char *dart_kernels_name_at(uint32_t index);

/* ---- models for other programs ---- */

typedef struct dart_export_options {
    size_t size;
    /* "peft": the adapters as LoRA pairs; "hf": the whole model, merged; "gguf-lora", "gguf": the
     * same for llama.cpp */
    const char *format;
    const char *out;       /* a folder that is not there yet, or empty */
    const char *base_name; /* peft: what adapter_config.json calls the base; NULL: its path */
    uint32_t rank; /* pairs: largest rank of a pair that is only near to its adapter; 0: any */
    uint32_t reserved;
    /* hf, gguf: "f32" (NULL), "f16", "bf16"; gguf also "q8_0", "q4_0": of matrices, rest in f32 */
    const char *dtype;
} dart_export_options;

typedef struct dart_export_result {
    size_t size;
    uint64_t parameters, bytes; /* written as tensors */
    double error; /* largest relative error of a pair; 0 but for rounding where pairs are
                     exact */
} dart_export_result;

/* The model at `path` (as for dart_llm_open) as files of another program. overrides and hooks may
 * be NULL. Errors: USAGE, INPUT (a model that has no place in the format), MEMORY, IO. */
DART_API DART_NODISCARD dart_status dart_export(const char *path, const dart_recipe *overrides,
    const dart_export_options *options, const dart_hooks *hooks, dart_export_result *out);

/* ---- models made smaller ---- */

typedef struct dart_compress_options {
    size_t size;
    const char *out;     /* a folder that is not there yet, or empty: the run directory to make, or
                            with gptq the Hugging Face folder */
    const char *method;  /* "svd": two thin matrices; "tt", "ttm": tensor trains; "gptq": numbers
                            rounded to `dtype`; NULL: svd */
    const char *modules; /* patterns of weights with commas ("blocks.*.mlp.*", "tok_emb"), or
                            q_proj ..., attention, mlp; NULL or "": all linear layers */
    /* of target: NULL or "uniform": every matrix shrinks alike; "found": ranks of all matrices
     * together, by what discarding costs (the rule budget); "threshold": every bond keeps the
     * singular values above one part of its range (WeLore) */
    const char *ranks;
    double target;  /* the matrices together get so many times smaller, above 1; 0: by epsilon */
    double epsilon; /* largest relative error of each matrix (Frobenius), below 1; 0: by target */
    /* A text to measure with which errors of a matrix matter; NULL or "": none. */
    const char *calibrate;
    uint64_t calibrate_tokens; /* read of it; 0: 16,384 */
    /* What the networks are near to: "entries" of the matrices; "outputs" of them over the text,
     * ||(W - W') R|| with R R^T the covariance of the inputs; "loss" of the text's next tokens,
     * ||L^T (W - W') R|| with L L^T the second moments of its gradients by the outputs: of linear
     * layers only. NULL: outputs where there is a text, else entries. */
    const char *metric;
    /* Of gptq: the packed format to whose numbers the matrices are rounded, near to their outputs
     * over the text: "nf4", "q4_0", "q8_0". A base that is kept in it (key base_dtype) has the very
     * numbers. */
    const char *dtype;
} dart_compress_options;

typedef struct dart_compress_row {
    char name[96];          /* "blocks.0.attn.q" */
    char ranks[64];         /* "8/57/8"; "": it stays as it is, since its network would be larger */
    uint32_t out, in;       /* the matrix is out x in */
    uint64_t before, after; /* numbers in it */
    double error;           /* ||W - W'|| / ||W|| (Frobenius) */
    double output_error;    /* of the outputs over the calibration text; NaN: there was none */
    double loss_rise; /* metric loss: what it adds to the loss by itself, nats a token, to second
                         order; else NaN */
    char dtype[16]; /* gptq: the format that its numbers are of; "": it stays as it is, as its rows
                       are no whole blocks, or the method is another */
    double plain_error, plain_output_error; /* of gptq: what both errors are where the format's
                                               blocks are made each by itself; else NaN */
} dart_compress_row;

/* What compression came to. */
typedef struct dart_compression dart_compression;

/* The model at `path` (as for dart_llm_open) with chosen matrices as tensor networks, as a run
 * directory: a checkpoint of step 0, which everything opens that opens runs, and which training
 * goes on from (key `base` or `init_from`). With gptq it is a Hugging Face folder, as
 * dart_export_options.format "hf" writes it: a base like any other. Everything is checked, and
 * computed, before the folder is made. overrides and hooks may be NULL; the key base of overrides
 * is not read, with gptq base_dtype neither. Errors: USAGE, INPUT (a target that the matrices
 * cannot meet, sizes without factors, a pattern that fits nothing; with gptq a model that Hugging
 * Face has no name for), MEMORY, IO. Free the result. */
DART_API DART_NODISCARD dart_status dart_compress(const char *path, const dart_recipe *overrides,
    const dart_compress_options *options, const dart_hooks *hooks, dart_compression **out);
DART_API uint32_t dart_compression_rows(const dart_compression *compression);
/* NULL past the end. */
DART_API const dart_compress_row *dart_compression_row(
    const dart_compression *compression, uint32_t index);
/* Parameters of the whole model, before and after. */
DART_API void dart_compression_size(
    const dart_compression *compression, uint64_t *out_before, uint64_t *out_after);
DART_API void dart_compression_free(dart_compression *compression); /* NULL: nothing */

/* ---- sweeps: a grid of runs ---- */

typedef struct dart_sweep_options {
    size_t size;
    const char *out; /* folder of runs and results; NULL or "": the file's own, or runs/<name> */
    const dart_recipe *flags; /* values given for all runs, below those of the grid; may be NULL */
    bool list;                /* only notes the names of the runs */
    bool force;    /* begins runs anew whose folder holds other work; it is moved aside */
    uint32_t jobs; /* runs at a time, with the hooks below; 0: one */
    /* a results.csv of this sweep, or NULL or "": runs with figures there that have no folder count
     * as finished. It has no recipes, so whether those were the same is the caller's to know. */
    const char *results;
} dart_sweep_options;

enum { DART_WHY = 512 }; /* bytes for the sentence of a failure */

typedef struct dart_sweep_hooks {
    size_t size;
    void *user;
    void (*note)(void *user, const char *line);
    /* Starts training the recipe at `recipe` in the run directory `dir`, going on from its
     * checkpoint or, with `resume` false, over whatever lies there; `run` is its number. Both NULL:
     * in this process, one run at a time. */
    dart_status (*start)(void *user, uint32_t run, const char *recipe, const char *dir, bool resume,
        char why[DART_WHY]);
    /* Waits until one of the started runs ends: which, and as status what dart_train would give. */
    dart_status (*wait)(void *user, uint32_t *out_run, char why[DART_WHY]);
    dart_status (*abort)(void *user); /* as in dart_hooks */
} dart_sweep_hooks;

typedef struct dart_sweep_result {
    size_t size;
    uint32_t runs, done, failed; /* failed: those that diverged too */
    char dir[512];
} dart_sweep_result;

/* options and hooks may be NULL. Errors: INPUT (whatever is wrong with the file, with its line,
 * before anything runs); FAILED (some runs failed; the others are done, and results.csv, results.md
 * and results.svg hold them all); INTERRUPTED, TERMINATED, MEMORY, IO. */
DART_API DART_NODISCARD dart_status dart_sweep(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *hooks, dart_sweep_result *out);

/* ---- reports of `count` run directories. Errors: INPUT (no run there), IO, MEMORY ---- */

/* A self-contained HTML page for one or several runs, for a sweep (a folder with results.csv), or
 * for measurements (a file that dart_bench wrote as json). */
DART_API DART_NODISCARD dart_status dart_report(
    const char *const *runs, size_t count, const char *out_path);
/* Event files for TensorBoard, in a folder a run below `dir`: scalars of all logs, histograms of
 * the bond spectra, the recipe as text. */
DART_API DART_NODISCARD dart_status dart_report_tensorboard(
    const char *const *runs, size_t count, const char *dir);
/* The charts of the page as SVG files in `dir`; for one run also its spectra. One file of
 * measurements will do as well. */
DART_API DART_NODISCARD dart_status dart_report_pictures(
    const char *const *runs, size_t count, const char *dir);
/* metrics.csv, spectra.csv, ranks.csv and table.csv of all runs in `dir` (RFC 4180). */
DART_API DART_NODISCARD dart_status dart_report_csv(
    const char *const *runs, size_t count, const char *dir);

/* ---- for programs ---- */

/* Name `index` of a list, NULL past its end. */
typedef const char *(*dart_name_list)(const void *context, uint32_t index);
/* The name of the list that `word` may have been meant to be; NULL if none is near. */
DART_API const char *dart_nearest_name(const char *word, dart_name_list at, const void *context);
/* 12345: "12,345" */
DART_API void dart_count_text(char out[64], uint64_t value);

#ifdef __cplusplus
}
#endif
#endif
