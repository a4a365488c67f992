/* The library of an app: what a bundle that `atb export` wrote answers, and its latency on the
 * device at hand. Generated from app/c/src by a test; see docs/app.md.
 *
 * Errors. Every function that can fail returns an atb_status. Where it is not ATB_STATUS_OK and
 * `error` is not NULL, `*error` is set to an error to read the message of and to free; on success
 * it is left as it is. No function ends the program by a panic.
 *
 * Threads. A model may be used by any number of threads at once, and so may a cancellation. An
 * error belongs to one thread at a time. What is freed must not be in use.
 *
 * Texts are UTF-8 and end with NUL. Pointers to handles and arrays must be valid, as everywhere
 * in C; NULL is refused as ATB_STATUS_ARGUMENT where a text or a handle is needed. Every *_free
 * function takes NULL.
 */

#ifndef AUTOTINYBERT_H
#define AUTOTINYBERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A flag of atb_model_open: every part's digest is checked first.
 */
#define ATB_CHECK_DIGESTS 1

/**
 * A task: atb_classify.
 */
#define ATB_TASK_CLASSIFY 0

/**
 * A task: atb_score.
 */
#define ATB_TASK_SCORE 1

/**
 * A task: atb_embed.
 */
#define ATB_TASK_EMBED 2

/**
 * A task: atb_answer.
 */
#define ATB_TASK_ANSWER 3

/**
 * A task: atb_tag.
 */
#define ATB_TASK_TAG 4

/**
 * How a call ended.
 */
typedef enum atb_status {
  /**
   * It did what was asked.
   */
  ATB_STATUS_OK = 0,
  /**
   * An argument is NULL, no UTF-8, or of no meaning.
   */
  ATB_STATUS_ARGUMENT = 1,
  /**
   * The bundle is missing, damaged, of a newer version, or none.
   */
  ATB_STATUS_BUNDLE = 2,
  /**
   * The model does not give what it was asked for.
   */
  ATB_STATUS_TASK = 3,
  /**
   * The array for the results is too small.
   */
  ATB_STATUS_CAPACITY = 4,
  /**
   * The call was cancelled.
   */
  ATB_STATUS_CANCELLED = 5,
  /**
   * The model failed to run, or could not be measured.
   */
  ATB_STATUS_FAILED = 6,
  /**
   * A bug of this library.
   */
  ATB_STATUS_PANIC = 7,
} atb_status;

/**
 * Ends the calls that were given it.
 */
typedef struct atb_cancellation atb_cancellation;

/**
 * Why a call failed.
 */
typedef struct atb_error atb_error;

/**
 * A loaded bundle.
 */
typedef struct atb_model atb_model;

/**
 * A part of a text that answers a question.
 */
typedef struct atb_answer_span {
  /**
   * Where it begins in the text, in bytes.
   */
  size_t start_byte;
  /**
   * Where it ends.
   */
  size_t end_byte;
  /**
   * Where it begins in the text, in characters (Unicode scalar values).
   */
  size_t start;
  /**
   * Where it ends.
   */
  size_t end;
  /**
   * How probable it is among the answers that were found, from 0 to 1.
   */
  float probability;
  /**
   * The sum of the logits of its begin and end, to compare answers from several texts by.
   */
  float score;
} atb_answer_span;

/**
 * A labelled part of a text.
 */
typedef struct atb_tag_span {
  /**
   * Where it begins in the text, in bytes.
   */
  size_t start_byte;
  /**
   * Where it ends.
   */
  size_t end_byte;
  /**
   * Where it begins in the text, in characters (Unicode scalar values).
   */
  size_t start;
  /**
   * Where it ends.
   */
  size_t end;
  /**
   * The number of its first word's label, whose name atb_model_label gives, with the `B-` or
   * `I-` that says whether a part begins or goes on.
   */
  size_t label;
  /**
   * How probable the label is, from 0 to 1.
   */
  float probability;
} atb_tag_span;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What went wrong, for an engineer. The text lives as long as the error.
 *
 * `error` is NULL or an error that was not freed.
 */
const char *atb_error_message(const struct atb_error *error);

/**
 * What to do about it; NULL where nothing is known. The text lives as long as the error.
 *
 * `error` is NULL or an error that was not freed.
 */
const char *atb_error_help(const struct atb_error *error);

/**
 * Frees an error.
 *
 * `error` is NULL or an error that was not freed; it is not used again.
 */
void atb_error_free(struct atb_error *error);

/**
 * A cancellation that ends nothing yet. Free it with atb_cancellation_free.
 */
struct atb_cancellation *atb_cancellation_new(void);

/**
 * Ends the calls that were given it, also those to come; they return ATB_STATUS_CANCELLED. A
 * call looks at it before each run of the network.
 *
 * `cancellation` is NULL or one that was not freed.
 */
void atb_cancellation_cancel(const struct atb_cancellation *cancellation);

/**
 * Frees a cancellation.
 *
 * `cancellation` is NULL or one that was not freed and that no call has.
 */
void atb_cancellation_free(struct atb_cancellation *cancellation);

/**
 * The version of this library.
 */
const char *atb_version(void);

/**
 * Opens the bundle at `path`, a folder or one file, and puts it into `*model`; free it with
 * atb_model_free. `flags` are 0 or ATB_CHECK_DIGESTS.
 *
 * `path` is a text; `model` may be written to; `error` is NULL or may be written to.
 */
enum atb_status atb_model_open(const char *path,
                               uint32_t flags,
                               struct atb_model **model,
                               struct atb_error **error);

/**
 * Opens a bundle in one file of which the `length` bytes at `bytes` are at hand. They are not
 * needed any more when this returns.
 *
 * As atb_model_open; `bytes` has `length` bytes.
 */
enum atb_status atb_model_open_bytes(const void *bytes,
                                     size_t length,
                                     uint32_t flags,
                                     struct atb_model **model,
                                     struct atb_error **error);

/**
 * Opens a bundle in one file that is `length` bytes of the open file `fd` from `offset` on, as
 * the assets of an Android app are; a length of 0 is all that follow. The file stays the
 * caller's, and may be closed when this returns.
 *
 * As atb_model_open; `fd` is open.
 */
enum atb_status atb_model_open_fd(int32_t fd,
                                  uint64_t offset,
                                  uint64_t length,
                                  uint32_t flags,
                                  struct atb_model **model,
                                  struct atb_error **error);

/**
 * Frees a model.
 *
 * `model` is NULL or one that was not freed and that no call has.
 */
void atb_model_free(struct atb_model *model);

/**
 * Whether a model can be asked for a task, one of ATB_TASK_*.
 *
 * `model` is NULL or one that was not freed.
 */
bool atb_model_gives(const struct atb_model *model, uint32_t task);

/**
 * How many labels a model tells apart; 0 if it gives none.
 *
 * `model` is NULL or one that was not freed.
 */
size_t atb_model_label_count(const struct atb_model *model);

/**
 * The name of a label; NULL if there are not so many. It lives as long as the model.
 *
 * `model` is NULL or one that was not freed.
 */
const char *atb_model_label(const struct atb_model *model, size_t index);

/**
 * Values of an embedding; 0 if the model gives none.
 *
 * `model` is NULL or one that was not freed.
 */
size_t atb_model_embedding_size(const struct atb_model *model);

/**
 * Most tokens of a text that count; the rest of it is left out, but for atb_answer.
 *
 * `model` is NULL or one that was not freed.
 */
size_t atb_model_sequence(const struct atb_model *model);

/**
 * Whether the bundle says what scores lie between, and if so that.
 *
 * `model` is NULL or one that was not freed; `least` and `largest` are NULL or may be written
 * to.
 */
bool atb_model_score_range(const struct atb_model *model, float *least, float *largest);

/**
 * Runs a text as long as the model takes, so that the next call does not pay for what only the
 * first does.
 *
 * `model` was not freed; `error` is NULL or may be written to.
 */
enum atb_status atb_model_warm_up(const struct atb_model *model, struct atb_error **error);

/**
 * The probabilities of the labels of `count` texts: `probabilities` gets
 * atb_model_label_count(model) values for each, in the order of the labels.
 *
 * `seconds` is NULL, or has the second text of each pair. `cancellation` may be NULL.
 *
 * The handles were not freed; `texts` and `seconds`, unless it is NULL, have `count` texts;
 * `probabilities` may be written to for `capacity` values; `error` is NULL or may be written to.
 */
enum atb_status atb_classify(const struct atb_model *model,
                             const char *const *texts,
                             const char *const *seconds,
                             size_t count,
                             float *probabilities,
                             size_t capacity,
                             const struct atb_cancellation *cancellation,
                             struct atb_error **error);

/**
 * The scores of `count` texts, one each, within atb_model_score_range. `seconds` is NULL, or has
 * the second text of each pair. `cancellation` may be NULL.
 *
 * As atb_classify.
 */
enum atb_status atb_score(const struct atb_model *model,
                          const char *const *texts,
                          const char *const *seconds,
                          size_t count,
                          float *scores,
                          size_t capacity,
                          const struct atb_cancellation *cancellation,
                          struct atb_error **error);

/**
 * The embeddings of `count` texts: `vectors` gets atb_model_embedding_size(model) values for
 * each. `cancellation` may be NULL.
 *
 * As atb_classify.
 */
enum atb_status atb_embed(const struct atb_model *model,
                          const char *const *texts,
                          size_t count,
                          float *vectors,
                          size_t capacity,
                          const struct atb_cancellation *cancellation,
                          struct atb_error **error);

/**
 * The parts of `text` that answer `question` best, at most `capacity`, the most probable first:
 * `answers` gets them and `*found` their number. A long text is read in windows that overlap.
 * `cancellation` may be NULL.
 *
 * The handles were not freed; `question` and `text` are texts; `answers` may be written to for
 * `capacity` answers and `found` for one number; `error` is NULL or may be written to.
 */
enum atb_status atb_answer(const struct atb_model *model,
                           const char *question,
                           const char *text,
                           struct atb_answer_span *answers,
                           size_t capacity,
                           size_t *found,
                           const struct atb_cancellation *cancellation,
                           struct atb_error **error);

/**
 * The labelled parts of `text`, in their order: `tags` gets them and `*found` their number, also
 * where it is more than `capacity`. A word has the label of its first token; neighbouring words of
 * one label are one part, unless the later one's label begins with `B-`, and words labelled `O`
 * are left out. A long text is read in windows that overlap. `cancellation` may be NULL.
 *
 * The handles were not freed; `text` is a text; `tags` may be written to for `capacity` tags and
 * `found` for one number; `error` is NULL or may be written to.
 */
enum atb_status atb_tag(const struct atb_model *model,
                        const char *text,
                        struct atb_tag_span *tags,
                        size_t capacity,
                        size_t *found,
                        const struct atb_cancellation *cancellation,
                        struct atb_error **error);

/**
 * Measures the bundle at `path` on this device, by the protocol of `atb bench`, on a thread of
 * its own; this returns when it is done, after some seconds to half a minute. `seconds` is the
 * most that each of three turns takes, or 0 for what `atb bench` takes.
 *
 * `*latency_ms` gets the latency. `*record` gets what `atb bench --compare` reads: write it to a
 * file, and free it with atb_string_free; NULL if it is not wanted.
 *
 * `path` is a text; `latency_ms` may be written to; `record` and `error` are NULL or may be
 * written to.
 */
enum atb_status atb_measure(const char *path,
                            double seconds,
                            double *latency_ms,
                            char **record,
                            struct atb_error **error);

/**
 * As atb_measure, of a bundle as atb_model_open_fd takes it.
 *
 * As atb_measure; `fd` is open.
 */
enum atb_status atb_measure_fd(int32_t fd,
                               uint64_t offset,
                               uint64_t length,
                               double seconds,
                               double *latency_ms,
                               char **record,
                               struct atb_error **error);

/**
 * Frees a text that this library made.
 *
 * `text` is NULL or one that a function of this library gave and that was not freed.
 */
void atb_string_free(char *text);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AUTOTINYBERT_H */
