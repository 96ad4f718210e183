/* Files of measured forms, as tune --import reads them. The hashes of kernels are made right, so
 * that what they do not protect from is reached; what is taken is written and read as the same. */
#include "fuzz.h"
#include "tuning.h"
#include <inttypes.h>

static const dart_backend named = {.name = "vulkan"};

static const dart_device device = {.backend = &named,
    .caps = {.name = "a device",
        .driver = "its driver",
        .api = "an API",
        .max_groups = {65535, 65535, 65535},
        .max_invocations = 1024,
        .max_shared = 49152,
        .word = 4,
        .threads = 32}};

/* The hash behind each kernel's name is its own. */
static void fit_sums(char *text)
{
    static const char kernel[] = "\"kernel\": \"", sum[] = "\"texts\": \"";
    for (char *at = text; (at = strstr(at, kernel));) {
        char name[32] = "", digits[24];
        at += sizeof kernel - 1;
        sscanf(at, "%31[a-z_]", name);
        char *to = strstr(at, sum);
        const dart_kernel k = dart_kernel_find(name);
        if (!to || k == DART_KERNELS || strlen(to) < sizeof sum - 1 + 16) continue;
        snprintf(digits, sizeof digits, "%016" PRIx64, dart_candidates_sum((uint32_t)k));
        memcpy(to + sizeof sum - 1, digits, 16);
    }
}

static char *text_of(const dart_tuned *tuned)
{
    json_t *body;
    char *out;
    fuzz_need(dart_tuned_json(&device, tuned, &body) == DART_OK, "no JSON of what was taken");
    fuzz_need(dart_json_write(body, DART_OK, 0, "it", &out) == DART_OK, "no text of it");
    return out;
}

static void again(const dart_trial *trial, size_t count)
{
    dart_tuned *tuned;
    dart_trial *more;
    size_t n;
    fuzz_need(dart_tuned_open(&device, &tuned) == DART_OK, "no list");
    fuzz_need(dart_tuned_clear(tuned) == DART_OK, "it cannot be emptied");
    fuzz_need(
        dart_tuned_put(tuned, &device.caps, trial, count) == DART_OK, "refused what was read");
    char *text = text_of(tuned);
    fuzz_need(dart_tuned_parse(&device, text, strlen(text), "again", false, &more, &n) == DART_OK,
        "what was written is not read");
    fuzz_need(n == count, "another number of trials");
    fuzz_need(dart_tuned_put(tuned, &device.caps, more, n) == DART_OK, "refused what was written");
    char *same = text_of(tuned);
    fuzz_need(!strcmp(text, same), "it changes when it is written and read");
    free(same);
    free(more);
    free(text);
    dart_tuned_close(tuned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    dart_trial *trial;
    size_t count;
    fuzz_folder();
    fit_sums(text);
    for (int force = 0; force < 2; force++) {
        if (!fuzz_read(dart_tuned_parse(&device, text, strlen(text), "it", force, &trial, &count)))
            continue;
        again(trial, count);
        free(trial);
    }
    free(text);
    return 0;
}
