// Classifies an image with the model in model_data.cc, on LiteRT's own choice of CPU kernels (XNNPACK).
//
//     LITERT=$(python3 -c 'import ai_edge_litert; print(ai_edge_litert.__path__[0])')
//     gcc -O2 -o classify classify.c model_data.cc "$LITERT/libLiteRt.so" -Wl,-rpath,"$LITERT" -lm
//     ./classify image.ppm
//
// Needs GCC with C++ (or Clang) and libLiteRt.so 2.3, which is in the wheel of ai-edge-litert for this kind of machine.
//
// The image has the model's size already: this program does not resize. It is a binary PPM file (P6; PGM, P5, where the
// model takes gray images), or as many raw bytes as there are values: rows from the top, and red, green, blue for each
// pixel. Printed are probability, output code and class, the most probable first.
//
// Exit code 2: the image is not as it should be. 1: LiteRT failed, model_facts.h does not fit the model, or the answer
// could not be written. One sentence on standard error says what.

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model_data.h"
#include "model_facts.h"

// What is used of LiteRT's C API: the wheel has the library, and no headers. After litert/c/*.h of
// https://github.com/google-ai-edge/LiteRT; whoever has those headers can include them instead.
typedef int LiteRtStatus;
typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT *LiteRtTensorBufferRequirements;
typedef struct {
  int element_type;
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} LiteRtRankedTensorType;
typedef struct {
  int tag;
  struct {
    int type;
    int64_t value;
  } any;
} LiteRtEnvOption;
enum { LITERT_CPU = 1, LITERT_READ = 0, LITERT_WRITE = 1 };
enum { LITERT_ACCELERATORS = 24, LITERT_LEAST_SEVERITY = 25, LITERT_INTEGER = 2, LITERT_ERROR = 3 };

#ifdef __cplusplus
extern "C" {
#endif
LiteRtStatus LiteRtCreateEnvironment(int count, const LiteRtEnvOption *options, LiteRtEnvironment *made);
LiteRtStatus LiteRtCreateModelFromBuffer(LiteRtEnvironment, const void *bytes, size_t size, LiteRtModel *made);
LiteRtStatus LiteRtCreateOptions(LiteRtOptions *made);
LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int accelerators);
LiteRtStatus LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *made);
LiteRtStatus LiteRtGetModelSignature(LiteRtModel, size_t index, LiteRtSignature *found);
LiteRtStatus LiteRtGetNumSignatureInputs(LiteRtSignature, size_t *count);
LiteRtStatus LiteRtGetNumSignatureOutputs(LiteRtSignature, size_t *count);
LiteRtStatus LiteRtGetSignatureInputTensorByIndex(LiteRtSignature, size_t index, LiteRtTensor *found);
LiteRtStatus LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature, size_t index, LiteRtTensor *found);
LiteRtStatus LiteRtGetRankedTensorType(LiteRtTensor, LiteRtRankedTensorType *found);
LiteRtStatus LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel, size_t signature, size_t index,
                                                           LiteRtTensorBufferRequirements *found);
LiteRtStatus LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel, size_t signature, size_t index,
                                                            LiteRtTensorBufferRequirements *found);
LiteRtStatus LiteRtCreateManagedTensorBufferFromRequirements(LiteRtEnvironment, const LiteRtRankedTensorType *,
                                                             LiteRtTensorBufferRequirements, LiteRtTensorBuffer *made);
LiteRtStatus LiteRtGetTensorBufferPackedSize(LiteRtTensorBuffer, size_t *bytes);
LiteRtStatus LiteRtLockTensorBuffer(LiteRtTensorBuffer, void **address, int mode);
LiteRtStatus LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
LiteRtStatus LiteRtRunCompiledModel(LiteRtCompiledModel, size_t signature, size_t inputs, LiteRtTensorBuffer *,
                                    size_t outputs, LiteRtTensorBuffer *);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
void LiteRtDestroyOptions(LiteRtOptions);
void LiteRtDestroyModel(LiteRtModel);
void LiteRtDestroyEnvironment(LiteRtEnvironment);
#ifdef __cplusplus
}
#endif

enum { VALUES = MODEL_HEIGHT * MODEL_WIDTH * MODEL_CHANNELS, LONGEST_HEADER = 4096 };
enum { WRONG_IMAGE = 2, LITERT_FAILED = 1 };

static void fail(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

static void fail(int code, const char *format, ...) {
  va_list values;
  va_start(values, format);
  fputs("classify: ", stderr);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  va_end(values);
  exit(code);
}

static void check(LiteRtStatus status, const char *call) {
  if (status != 0) fail(LITERT_FAILED, "%s answered status %d (litert_common.h says what it is).", call, status);
}

#define CALL(function, ...) check(function(__VA_ARGS__), #function)

static int is_white(unsigned char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

// The next number of a PPM header, past white space and comments; -1 if there is none.
static long number(const unsigned char *bytes, size_t size, size_t *at) {
  long found = -1;
  while (*at < size && (is_white(bytes[*at]) || bytes[*at] == '#')) {
    if (bytes[*at] == '#') {
      while (*at < size && bytes[*at] != '\n') ++*at;
    } else {
      ++*at;
    }
  }
  for (; *at < size && bytes[*at] >= '0' && bytes[*at] <= '9' && found < 1000000; ++*at) {
    found = 10 * (found < 0 ? 0 : found) + (bytes[*at] - '0');
  }
  return found;
}

// The values of the image in a file's bytes: all of them, or what follows the header of a PPM image.
static const unsigned char *values_of(const char *path, const unsigned char *bytes, size_t size) {
  const char kind = MODEL_CHANNELS == 1 ? '5' : '6';
  size_t at = 2;
  if (size == VALUES) return bytes;
  if (size < 3 || bytes[0] != 'P' || bytes[1] != kind || !(is_white(bytes[2]) || bytes[2] == '#')) {
    fail(WRONG_IMAGE, "'%s' is neither a binary %s image (P%c) nor %d raw bytes (height %d, width %d, channels %d).",
         path, MODEL_CHANNELS == 1 ? "PGM" : "PPM", kind, VALUES, MODEL_HEIGHT, MODEL_WIDTH, MODEL_CHANNELS);
  }
  const long width = number(bytes, size, &at), height = number(bytes, size, &at), white = number(bytes, size, &at);
  // One character of white space ends the header.
  if (width < 1 || height < 1 || white < 1 || ++at > size) fail(WRONG_IMAGE, "The header of '%s' is damaged.", path);
  if (width != MODEL_WIDTH || height != MODEL_HEIGHT) {
    fail(WRONG_IMAGE, "'%s' is %ld pixels wide and %ld high; the model takes %d and %d: resize it first.", path, width,
         height, MODEL_WIDTH, MODEL_HEIGHT);
  }
  if (white != 255) fail(WRONG_IMAGE, "'%s' has values up to %ld; they should go up to 255.", path, white);
  if (size - at != VALUES) {
    fail(WRONG_IMAGE, "'%s' has %s than the %d bytes of pixels that its header announces.", path,
         size - at < VALUES ? "less" : "more", VALUES);
  }
  return bytes + at;
}

// Reads an image and quantizes it.
static void read_image(const char *path, model_input *codes) {
  static unsigned char bytes[VALUES + LONGEST_HEADER];
  struct stat kind;
  // Opening a pipe would wait for whoever writes into it.
  const int known = stat(path, &kind);
  if (known == 0 && (kind.st_mode & S_IFMT) == S_IFDIR) fail(WRONG_IMAGE, "'%s' cannot be read: Is a directory.", path);
  if (known == 0 && (kind.st_mode & S_IFMT) != S_IFREG) fail(WRONG_IMAGE, "'%s' is no regular file.", path);
  FILE *file = known == 0 ? fopen(path, "rb") : NULL;
  if (file == NULL) fail(WRONG_IMAGE, "'%s' cannot be read: %s.", path, strerror(errno));
  const size_t size = fread(bytes, 1, sizeof bytes, file);
  if (ferror(file)) fail(WRONG_IMAGE, "'%s' cannot be read: %s.", path, strerror(errno));
  fclose(file);
  const unsigned char *values = values_of(path, bytes, size);
  for (int place = 0; place < VALUES; ++place) {
    const int channel = place % MODEL_CHANNELS;
    codes[place] = model_codes[values[MODEL_BGR ? place - channel + MODEL_CHANNELS - 1 - channel : place]];
  }
}

// A buffer for a tensor, which has to hold so many bytes of such a type.
static LiteRtTensorBuffer buffer_for(LiteRtEnvironment environment, LiteRtTensor tensor,
                                     LiteRtTensorBufferRequirements needs, int type, size_t bytes) {
  LiteRtRankedTensorType ranked;
  LiteRtTensorBuffer buffer;
  size_t size = 0;
  CALL(LiteRtGetRankedTensorType, tensor, &ranked);
  for (unsigned int axis = 0; axis < ranked.rank; ++axis) {
    // A batch whose size is open: one image.
    if (ranked.dimensions[axis] < 0) ranked.dimensions[axis] = 1;
  }
  CALL(LiteRtCreateManagedTensorBufferFromRequirements, environment, &ranked, needs, &buffer);
  CALL(LiteRtGetTensorBufferPackedSize, buffer, &size);
  if (ranked.element_type != type || size != bytes) {
    fail(LITERT_FAILED, "model_facts.h is of another model than model_data.cc: %zu bytes of type %d, not %zu of %d.",
         size, ranked.element_type, bytes, type);
  }
  return buffer;
}

// Runs the model on one image.
static void run(const model_input *codes, model_output *answer) {
  // No search for other accelerators than the CPU, and no notices.
  const LiteRtEnvOption wishes[] = {{LITERT_ACCELERATORS, {LITERT_INTEGER, LITERT_CPU}},
                                    {LITERT_LEAST_SEVERITY, {LITERT_INTEGER, LITERT_ERROR}}};
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  LiteRtSignature signature;
  LiteRtTensor tensor;
  LiteRtTensorBufferRequirements needs;
  LiteRtTensorBuffer input, output;
  size_t inputs = 0, outputs = 0;
  void *address;

  CALL(LiteRtCreateEnvironment, 2, wishes, &environment);
  CALL(LiteRtCreateModelFromBuffer, environment, model_data, model_data_len, &model);
  CALL(LiteRtCreateOptions, &options);
  CALL(LiteRtSetOptionsHardwareAccelerators, options, LITERT_CPU);
  CALL(LiteRtCreateCompiledModel, environment, model, options, &compiled);

  CALL(LiteRtGetModelSignature, model, 0, &signature);
  CALL(LiteRtGetNumSignatureInputs, signature, &inputs);
  CALL(LiteRtGetNumSignatureOutputs, signature, &outputs);
  if (inputs != 1 || outputs != 1) {
    fail(LITERT_FAILED, "The model has %zu inputs and %zu outputs; this program is for one each.", inputs, outputs);
  }
  CALL(LiteRtGetSignatureInputTensorByIndex, signature, 0, &tensor);
  CALL(LiteRtGetCompiledModelInputBufferRequirements, compiled, 0, 0, &needs);
  input = buffer_for(environment, tensor, needs, MODEL_INPUT_TYPE, VALUES * sizeof *codes);
  CALL(LiteRtGetSignatureOutputTensorByIndex, signature, 0, &tensor);
  CALL(LiteRtGetCompiledModelOutputBufferRequirements, compiled, 0, 0, &needs);
  output = buffer_for(environment, tensor, needs, MODEL_OUTPUT_TYPE, MODEL_OUTPUTS * sizeof *answer);

  CALL(LiteRtLockTensorBuffer, input, &address, LITERT_WRITE);
  memcpy(address, codes, VALUES * sizeof *codes);
  CALL(LiteRtUnlockTensorBuffer, input);
  CALL(LiteRtRunCompiledModel, compiled, 0, 1, &input, 1, &output);
  CALL(LiteRtLockTensorBuffer, output, &address, LITERT_READ);
  memcpy(answer, address, MODEL_OUTPUTS * sizeof *answer);
  CALL(LiteRtUnlockTensorBuffer, output);

  LiteRtDestroyTensorBuffer(output);
  LiteRtDestroyTensorBuffer(input);
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
}

// The probability of each class.
static void probabilities(const model_output *answer, double *shares) {
  double sum = 0;
  int highest = answer[0];
  for (int place = 1; place < MODEL_OUTPUTS; ++place) highest = answer[place] > highest ? answer[place] : highest;
  for (int place = 0; place < MODEL_OUTPUTS; ++place) {
    const double real = MODEL_OUTPUT_SCALE * (answer[place] - MODEL_OUTPUT_ZERO_POINT);
    shares[place] = MODEL_GIVES_PROBABILITIES ? real : exp(MODEL_OUTPUT_SCALE * (answer[place] - highest));
    sum += shares[place];
  }
  for (int place = 0; !MODEL_GIVES_PROBABILITIES && place < MODEL_OUTPUTS; ++place) shares[place] /= sum;
  if (MODEL_OUTPUTS == 1 && MODEL_CLASSES == 2) {
    shares[1] = shares[0];
    shares[0] = 1 - shares[1];
  }
}

int main(int count, char **arguments) {
  static model_input codes[VALUES];
  static model_output answer[MODEL_OUTPUTS];
  static double shares[MODEL_CLASSES];
  for (int place = 0; place < MODEL_OUTPUTS || place < MODEL_CLASSES; ++place) {
    if (place >= MODEL_CLASSES || model_labels[place] == NULL) {
      fail(LITERT_FAILED, "model_facts.h is damaged: it names fewer labels than the model has outputs.");
    }
  }
  if (count != 2) fail(WRONG_IMAGE, "Give one image: %s IMAGE", count > 0 ? arguments[0] : "classify");
  read_image(arguments[1], codes);
  run(codes, answer);
  probabilities(answer, shares);
  for (int line = 0; line < MODEL_CLASSES; ++line) {
    int best = 0;
    for (int place = 1; place < MODEL_CLASSES; ++place) best = shares[place] > shares[best] ? place : best;
    printf("%8.4f%%  %6d  %s\n", 100 * shares[best], answer[best < MODEL_OUTPUTS ? best : 0], model_labels[best]);
    shares[best] = -1;
  }
  if (fflush(stdout) != 0 || ferror(stdout)) fail(LITERT_FAILED, "The answer could not be written: %s.", strerror(errno));
  return 0;
}
