/* Event files for TensorBoard: TFRecords with masked CRC-32C around Event messages. Encoded by
 * hand: three small protobuf messages that have not changed in ten years are less than a code
 * generator. */
#include "report.h"
#include "c_locale.h"
#include "file.h"
#include "memstream.h"
#include "mem.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- protobuf wire format ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct message {
    uint8_t *data; /* owned */
    size_t size, capacity;
    dart_status status; /* of the first allocation that failed */
} message;

static void append(message *m, const void *data, size_t size)
{
    if (m->status == DART_OK)
        m->status = dart_grow((void **)&m->data, &m->capacity, m->size + size + 1, 1);
    if (m->status != DART_OK || !size) return;
    memcpy(m->data + m->size, data, size);
    m->size += size;
}

static void put_varint(message *m, uint64_t value)
{
    uint8_t byte[10];
    size_t n = 0;
    do {
        byte[n] = (uint8_t)(value & 127) | (value > 127 ? 128 : 0);
        n++;
    } while (value >>= 7);
    append(m, byte, n);
}

static void put_tag(message *m, unsigned field, unsigned type)
{
    put_varint(m, field << 3 | type);
}

static void put_integer(message *m, unsigned field, uint64_t value)
{
    put_tag(m, field, VARINT);
    put_varint(m, value);
}

/* Little-endian like every machine this runs on. */
static void put_double(message *m, unsigned field, double value)
{
    put_tag(m, field, FIXED64);
    append(m, &value, sizeof value);
}

static void put_bytes(message *m, unsigned field, const void *data, size_t size)
{
    put_tag(m, field, BYTES);
    put_varint(m, size);
    append(m, data, size);
}

/* Takes `part` over. */
static void put_message(message *m, unsigned field, message *part)
{
    put_bytes(m, field, part->data, part->size);
    if (m->status == DART_OK) m->status = part->status;
    free(part->data);
    *part = (message){0};
}

/* ---- records ---- */

/* CRC-32C (Castagnoli, RFC 3720 B.4), masked so that a checksum of checksums stays one. */
static uint32_t masked_crc(const uint8_t *data, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static dart_status write_record(message *event, FILE *out)
{
    uint64_t size = event->size;
    uint32_t head = masked_crc((const uint8_t *)&size, sizeof size);
    uint32_t body = masked_crc(event->data, event->size);
    fwrite(&size, sizeof size, 1, out);
    fwrite(&head, sizeof head, 1, out);
    fwrite(event->data, 1, event->size, out);
    fwrite(&body, sizeof body, 1, out);
    dart_status status = event->status;
    free(event->data);
    *event = (message){0};
    return status;
}

dart_status dart_report_event_version(FILE *out, double wall)
{
    static const char version[] = "brain.Event:2";
    message event = {0};
    put_double(&event, 1, wall);
    put_bytes(&event, 3, version, sizeof version - 1);
    return write_record(&event, out);
}

/* An event with a summary of one value. Takes `value`, which lacks its tag, over. */
static dart_status write_summary(
    FILE *out, double wall, double step, const char *tag, message *content)
{
    message event = {0}, summary = {0}, value = {0};
    put_bytes(&value, 1, tag, strlen(tag));
    append(&value, content->data, content->size);
    if (value.status == DART_OK) value.status = content->status;
    free(content->data);
    *content = (message){0};
    put_message(&summary, 1, &value);
    put_double(&event, 1, wall);
    if (step > 0) put_integer(&event, 2, (uint64_t)step);
    put_message(&event, 5, &summary);
    return write_record(&event, out);
}

dart_status dart_report_event_scalar(
    FILE *out, double wall, double step, const char *tag, double value)
{
    message content = {0};
    float single = (float)value;
    put_tag(&content, 2, FIXED32);
    append(&content, &single, sizeof single);
    return write_summary(out, wall, step, tag, &content);
}

/* A spectrum as a histogram with buckets of even width in log sigma, four decades. */
static dart_status write_histogram(
    FILE *out, double wall, const char *tag, const dart_record_column *c)
{
    enum { BUCKETS = 32 };
    double limit[BUCKETS], bucket[BUCKETS] = {0}, sum = 0, squares = 0, least = INFINITY, most = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!isfinite(c->sigma[i])) return DART_OK;
        sum += c->sigma[i];
        squares += c->sigma[i] * c->sigma[i];
        least = fmin(least, c->sigma[i]);
        most = fmax(most, c->sigma[i]);
    }
    if (!(most > 0)) return DART_OK;
    for (int i = 0; i < BUCKETS; i++) limit[i] = most * pow(10, 4.0 * (i + 1 - BUCKETS) / BUCKETS);
    for (uint32_t i = 0; i < c->count; i++) {
        int at = 0;
        while (at < BUCKETS - 1 && c->sigma[i] > limit[at]) at++;
        bucket[at]++;
    }
    message content = {0}, histogram = {0};
    put_double(&histogram, 1, least);
    put_double(&histogram, 2, most);
    put_double(&histogram, 3, c->count);
    put_double(&histogram, 4, sum);
    put_double(&histogram, 5, squares);
    put_bytes(&histogram, 6, limit, sizeof limit);
    put_bytes(&histogram, 7, bucket, sizeof bucket);
    put_message(&content, 5, &histogram);
    return write_summary(out, wall, c->step, tag, &content);
}

static dart_status write_text(FILE *out, double wall, const char *tag, const char *text)
{
    enum { DT_STRING = 7 };
    message content = {0}, tensor = {0}, shape = {0}, metadata = {0}, plugin = {0};
    put_integer(&tensor, 1, DT_STRING);
    put_message(&tensor, 2, &shape); /* a scalar */
    put_bytes(&tensor, 8, text, strlen(text));
    put_message(&content, 8, &tensor);
    put_bytes(&plugin, 1, "text", 4);
    put_message(&metadata, 1, &plugin);
    put_message(&content, 9, &metadata);
    return write_summary(out, wall, 0, tag, &content);
}

/* ---- a run ---- */

/* Names as other trainers use them. */
static void tag_of(const char *key, char out[96])
{
    static const char *const names[][2] = {{"lr", "train/learning_rate"},
        {"valid_nll", "eval/loss"}, {"valid_ppl", "eval/perplexity"}, {"test_nll", "test/loss"},
        {"test_ppl", "test/perplexity"}, {"effective_rank", "ranks/effective"},
        {"tokens_per_s", "perf/tokens_per_second"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i][0], key)) {
            snprintf(out, 96, "%s", names[i][1]);
            return;
        }
    snprintf(out, 96, "train/%s", key);
}

/* Seconds into the run at a step; `at` remembers where the last search ended. */
static double seconds_at(const dart_record_track *seconds, double step, size_t *at)
{
    if (!seconds) return 0;
    if (*at >= seconds->count || seconds->x[*at] > step) *at = 0;
    while (*at + 1 < seconds->count && seconds->x[*at + 1] <= step) ++*at;
    return seconds->x[*at] <= step && isfinite(seconds->y[*at]) ? seconds->y[*at] : 0;
}

static dart_status write_log(const dart_record_log *log, double began, FILE *out)
{
    const dart_record_track *seconds = dart_record_find(log, "seconds");
    for (size_t t = 0; t < log->tracks; t++) {
        const dart_record_track *track = &log->track[t];
        char tag[96];
        size_t at = 0;
        if (track == seconds) continue;
        tag_of(track->key, tag);
        for (size_t i = 0; i < track->count; i++)
            DART_TRY(dart_report_event_scalar(
                out, began + seconds_at(seconds, track->x[i], &at), track->x[i], tag, track->y[i]));
    }
    return DART_OK;
}

static dart_status write_spectra(const dart_record_run *run, double began, FILE *out)
{
    const dart_record_track *seconds = dart_record_find(&run->own, "seconds");
    for (size_t b = 0; b < run->bonds; b++) {
        const dart_record_bond *bond = &run->bond[b];
        char tag[160];
        size_t at = 0;
        snprintf(tag, sizeof tag, "spectra/%s/bond_%u", bond->weight, bond->bond + 1);
        for (size_t k = 0; k < bond->columns; k++)
            DART_TRY(write_histogram(out, began + seconds_at(seconds, bond->column[k].step, &at),
                tag, &bond->column[k]));
    }
    return DART_OK;
}

/* A run began when its recipe was written. */
static double began_at(const dart_record_run *run)
{
    char path[4096];
    struct stat info;
    if (dart_record_path(path, run->dir, "", "recipe.yaml") != DART_OK || stat(path, &info))
        return 0;
    return (double)info.st_mtime;
}

static dart_status write_file(const dart_record_run *run, bool twin, const char *dir)
{
    char folder[4096], path[4400], *data = NULL, *text = NULL;
    size_t size = 0;
    double began = began_at(run);
    dart_status status = DART_OK;
    FILE *out = NULL;
    if (snprintf(folder, sizeof folder, "%s/%s%s", dir, run->name, twin ? "/dense-twin" : "") >=
        (int)sizeof folder)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    DART_TRY(dart_mkdirs(folder));
    /* The same name whenever a run is exported again: TensorBoard would show two files as one. */
    snprintf(path, sizeof path, "%s/events.out.tfevents.%010.0f.dart-llm.0.0", folder, began);
    out = dart_memstream_open(&data, &size);
    if (!out) return DART_MEMORY;
    DART_GOTO(dart_report_event_version(out, began));
    if (!twin && run->recipe_text) {
        text = dart_calloc(strlen(run->recipe_text) + 16, 1);
        if (!text) DART_GOTO(DART_MEMORY);
        sprintf(text, "```\n%s```\n", run->recipe_text);
        DART_GOTO(write_text(out, began, "recipe", text));
    }
    DART_GOTO(write_log(twin ? &run->twin : &run->own, began, out));
    if (!twin) DART_GOTO(write_spectra(run, began, out));
    status = dart_memstream_close(out, "an event file", &data);
    out = NULL;
    DART_GOTO(status);
    status = dart_file_write_atomic(path, data, size);
done:
    if (out) fclose(out);
    free(data);
    free(text);
    return status;
}

static dart_status write_all(const char *const *dirs, size_t count, const char *dir)
{
    dart_record_run *runs;
    DART_TRY(dart_record_read(dirs, count, &runs));
    dart_status status = DART_OK;
    for (size_t i = 0; i < count; i++) {
        DART_GOTO(write_file(&runs[i], false, dir));
        if (runs[i].has_twin) DART_GOTO(write_file(&runs[i], true, dir));
    }
done:
    dart_record_free(runs, count);
    return status;
}

dart_status dart_report_tensorboard(const char *const *dirs, size_t count, const char *dir)
{
    locale_t before = dart_locale_enter();
    dart_status status = write_all(dirs, count, dir);
    dart_locale_leave(before);
    return status;
}
