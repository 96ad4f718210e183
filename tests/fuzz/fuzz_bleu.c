/* BLEU: lines of hypothesis and reference in turn; the first byte chooses the options. */
#include "fuzz.h"
#include "bleu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MOST = 16 };
    if (!size) return 0;
    const dart_bleu_options options = {
        .size = sizeof options, .lowercase = data[0] & 1, .raw = data[0] & 2};
    char *text = fuzz_text(data + 1, size - 1), *words;
    const char *line[2][MOST];
    uint64_t lines = 0;
    for (char *at = text, *end; lines < 2 * MOST; at = end + 1) {
        end = strchr(at, '\n');
        if (end) *end = 0;
        line[lines % 2][lines / 2] = at;
        lines++;
        if (!end) break;
    }
    if (fuzz_read(dart_bleu_words(line[0][0], &options, &words))) free(words);
    dart_bleu bleu = {.size = sizeof bleu};
    const char *const *reference[] = {line[1]};
    if (lines > 1 && fuzz_read(dart_bleu_lines(lines / 2, line[0], 1, reference, &options, &bleu)))
        fuzz_need(bleu.score >= 0 && bleu.score <= 100.0001, "a score outside of 0 to 100");
    free(text);
    return 0;
}
