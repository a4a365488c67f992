/* Asks a bundle what it gives for each argument.
 *
 *     ./demo bundle.atb "The battery lasts two days." "It broke at once."
 *     ./demo bundle.atb --measure > app-record.jsonl
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autotinybert.h"

/* Prints an error, frees it, and gives the program's exit status. */
static int failed(atb_error *error) {
    const char *help = atb_error_help(error);
    fprintf(stderr, "error: %s\n", atb_error_message(error));
    if (help != NULL) {
        fprintf(stderr, "hint: %s\n", help);
    }
    atb_error_free(error);
    return 1;
}

static int measure(const char *bundle) {
    atb_error *error = NULL;
    double latency_ms = 0;
    char *record = NULL;
    if (atb_measure(bundle, 0, &latency_ms, &record, &error) != ATB_STATUS_OK) {
        return failed(error);
    }
    fprintf(stderr, "%.3f ms\n", latency_ms);
    fputs(record, stdout);
    atb_string_free(record);
    return 0;
}

static int classify(const atb_model *model, const char *const *texts, size_t count) {
    atb_error *error = NULL;
    size_t labels = atb_model_label_count(model);
    float *found = calloc(count * labels, sizeof *found);
    int status = 0;
    if (found == NULL) {
        return 1;
    }
    if (atb_classify(model, texts, NULL, count, found, count * labels, NULL, &error) !=
        ATB_STATUS_OK) {
        status = failed(error);
    } else {
        for (size_t i = 0; i < count; i++) {
            printf("%s\n", texts[i]);
            for (size_t j = 0; j < labels; j++) {
                printf("  %s %.4f\n", atb_model_label(model, j), found[i * labels + j]);
            }
        }
    }
    free(found);
    return status;
}

static int score(const atb_model *model, const char *const *texts, size_t count) {
    atb_error *error = NULL;
    float *found = calloc(count, sizeof *found);
    int status = 0;
    if (found == NULL) {
        return 1;
    }
    if (atb_score(model, texts, NULL, count, found, count, NULL, &error) != ATB_STATUS_OK) {
        status = failed(error);
    } else {
        for (size_t i = 0; i < count; i++) {
            printf("%s\n  %.4f\n", texts[i], found[i]);
        }
    }
    free(found);
    return status;
}

static int embed(const atb_model *model, const char *const *texts, size_t count) {
    atb_error *error = NULL;
    size_t size = atb_model_embedding_size(model);
    float *found = calloc(count * size, sizeof *found);
    int status = 0;
    if (found == NULL) {
        return 1;
    }
    if (atb_embed(model, texts, count, found, count * size, NULL, &error) != ATB_STATUS_OK) {
        status = failed(error);
    } else {
        for (size_t i = 0; i < count; i++) {
            printf("%s\n  %lu values, the first %.4f\n", texts[i], (unsigned long)size,
                   found[i * size]);
        }
    }
    free(found);
    return status;
}

static int tag(const atb_model *model, const char *text) {
    atb_error *error = NULL;
    atb_tag_span found[64];
    size_t count = 0;
    printf("%s\n", text);
    if (atb_tag(model, text, found, 64, &count, NULL, &error) != ATB_STATUS_OK) {
        return failed(error);
    }
    for (size_t i = 0; i < count; i++) {
        const char *label = atb_model_label(model, found[i].label);
        int length = (int)(found[i].end_byte - found[i].start_byte);
        if (strncmp(label, "B-", 2) == 0 || strncmp(label, "I-", 2) == 0) {
            label += 2;
        }
        printf("  %.*s (%lu to %lu) %s %.4f\n", length, text + found[i].start_byte,
               (unsigned long)found[i].start, (unsigned long)found[i].end, label,
               found[i].probability);
    }
    return 0;
}

static int answer(const atb_model *model, const char *question, const char *text) {
    atb_error *error = NULL;
    atb_answer_span found[3];
    size_t count = 0;
    if (atb_answer(model, question, text, found, 3, &count, NULL, &error) != ATB_STATUS_OK) {
        return failed(error);
    }
    for (size_t i = 0; i < count; i++) {
        int length = (int)(found[i].end_byte - found[i].start_byte);
        printf("%.*s (%lu to %lu) %.4f\n", length, text + found[i].start_byte,
               (unsigned long)found[i].start, (unsigned long)found[i].end, found[i].probability);
    }
    return 0;
}

int main(int argc, char **argv) {
    atb_error *error = NULL;
    atb_model *model = NULL;
    const char *const *texts = (const char *const *)(argv + 2);
    size_t count = argc > 2 ? (size_t)argc - 2 : 0;
    int status = 0;
    if (count == 0) {
        fprintf(stderr, "usage: %s BUNDLE TEXT... | BUNDLE --measure\n", argv[0]);
        return 2;
    }
    if (count == 1 && strcmp(texts[0], "--measure") == 0) {
        return measure(argv[1]);
    }
    if (atb_model_open(argv[1], ATB_CHECK_DIGESTS, &model, &error) != ATB_STATUS_OK) {
        return failed(error);
    }
    if (atb_model_warm_up(model, &error) != ATB_STATUS_OK) {
        atb_model_free(model);
        return failed(error);
    }
    if (atb_model_gives(model, ATB_TASK_CLASSIFY)) {
        status |= classify(model, texts, count);
    }
    if (atb_model_gives(model, ATB_TASK_SCORE)) {
        status |= score(model, texts, count);
    }
    if (atb_model_gives(model, ATB_TASK_EMBED)) {
        status |= embed(model, texts, count);
    }
    if (atb_model_gives(model, ATB_TASK_TAG)) {
        for (size_t i = 0; i < count; i++) {
            status |= tag(model, texts[i]);
        }
    }
    if (atb_model_gives(model, ATB_TASK_ANSWER) && count == 2) {
        status |= answer(model, texts[0], texts[1]);
    }
    atb_model_free(model);
    return status;
}
