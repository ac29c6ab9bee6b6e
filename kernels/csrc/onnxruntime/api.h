// The part of ONNX Runtime's C interface that an operator of our own needs, declared anew: its wheels bring no header.
//
// Why that is safe. ONNX Runtime finds `RegisterCustomOps` by its name and gives it an OrtApiBase, whose two functions
// never change. GetApi(version) gives a table of functions that grows at its end only: an entry keeps its place in all
// later versions, and ONNX Runtime pins that with static assertions of its own. GetApi gives null where the version is
// newer than the library; then nothing is registered. Of an OrtCustomOp only the fields of its own `version` are read.
// Version 17 (ONNX Runtime 1.17) is the first with ParallelFor. On a 64-bit Unix, ORT_API_CALL is empty.
#pragma once
#include <stddef.h>
#include <stdint.h>

constexpr uint32_t kOrtApiVersion = 17;

// Handles that belong to ONNX Runtime.
struct OrtStatus;
struct OrtValue;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtTensorTypeAndShapeInfo;

enum OrtErrorCode { kOrtFail = 1, kOrtInvalidArgument = 2 };
enum OrtElementType { kOrtFloat = 1, kOrtInt64 = 7 };
enum OrtPresence { kOrtRequired = 0, kOrtOptional = 1 };
enum OrtMemory { kOrtDefaultMemory = 0 };

struct OrtCustomOp;

// The table of functions. Each is called with the types of its C declaration; null means success.
struct OrtApi {
    void* function[275];

    template <class Function>
    Function* at(size_t place) const {
        return reinterpret_cast<Function*>(function[place]);
    }
    OrtStatus* status(OrtErrorCode code, const char* text) const {
        return at<OrtStatus*(OrtErrorCode, const char*)>(0)(code, text);
    }
    OrtStatus* create_domain(const char* name, OrtCustomOpDomain** domain) const {
        return at<OrtStatus*(const char*, OrtCustomOpDomain**)>(26)(name, domain);
    }
    OrtStatus* add_operator(OrtCustomOpDomain* domain, const OrtCustomOp* op) const {
        return at<OrtStatus*(OrtCustomOpDomain*, const OrtCustomOp*)>(27)(domain, op);
    }
    OrtStatus* add_domain(OrtSessionOptions* options, OrtCustomOpDomain* domain) const {
        return at<OrtStatus*(OrtSessionOptions*, OrtCustomOpDomain*)>(28)(options, domain);
    }
    OrtStatus* data(OrtValue* value, void** data) const {
        return at<OrtStatus*(OrtValue*, void**)>(51)(value, data);
    }
    OrtStatus* dimension_count(const OrtTensorTypeAndShapeInfo* info, size_t* count) const {
        return at<OrtStatus*(const OrtTensorTypeAndShapeInfo*, size_t*)>(61)(info, count);
    }
    OrtStatus* dimensions(const OrtTensorTypeAndShapeInfo* info, int64_t* sizes, size_t count) const {
        return at<OrtStatus*(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>(62)(info, sizes, count);
    }
    OrtStatus* type_and_shape(const OrtValue* value, OrtTensorTypeAndShapeInfo** info) const {
        return at<OrtStatus*(const OrtValue*, OrtTensorTypeAndShapeInfo**)>(65)(value, info);
    }
    OrtStatus* attribute(const OrtKernelInfo* info, const char* name, float* number) const {
        return at<OrtStatus*(const OrtKernelInfo*, const char*, float*)>(85)(info, name, number);
    }
    OrtStatus* attribute(const OrtKernelInfo* info, const char* name, int64_t* number) const {
        return at<OrtStatus*(const OrtKernelInfo*, const char*, int64_t*)>(86)(info, name, number);
    }
    OrtStatus* input_count(const OrtKernelContext* context, size_t* count) const {
        return at<OrtStatus*(const OrtKernelContext*, size_t*)>(88)(context, count);
    }
    OrtStatus* input(const OrtKernelContext* context, size_t index, const OrtValue** value) const {
        return at<OrtStatus*(const OrtKernelContext*, size_t, const OrtValue**)>(90)(context, index, value);
    }
    OrtStatus* output(OrtKernelContext* context, size_t index, const int64_t* sizes, size_t count, OrtValue** value) const {
        return at<OrtStatus*(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**)>(91)(context, index, sizes,
                                                                                                count, value);
    }
    void release(OrtTensorTypeAndShapeInfo* info) const { at<void(OrtTensorTypeAndShapeInfo*)>(99)(info); }
    // Calls run(data, i) for i in 0 ... total - 1 on the session's threads; with as many batches, they take them in turns.
    OrtStatus* parallel_for(const OrtKernelContext* context, void (*run)(void*, size_t), size_t total, size_t batches,
                            void* data) const {
        return at<OrtStatus*(const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*)>(274)(
            context, run, total, batches, data);
    }
};

struct OrtApiBase {
    const OrtApi* (*GetApi)(uint32_t version);
    const char* (*GetVersionString)();
};

// An operator; the fields of version 17, in their order. Null: not used.
struct OrtCustomOp {
    uint32_t version;
    void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
    const char* (*GetName)(const OrtCustomOp*);
    const char* (*GetExecutionProviderType)(const OrtCustomOp*);
    OrtElementType (*GetInputType)(const OrtCustomOp*, size_t);
    size_t (*GetInputTypeCount)(const OrtCustomOp*);
    OrtElementType (*GetOutputType)(const OrtCustomOp*, size_t);
    size_t (*GetOutputTypeCount)(const OrtCustomOp*);
    void (*KernelCompute)(void*, OrtKernelContext*);
    void (*KernelDestroy)(void*);
    OrtPresence (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
    OrtPresence (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
    OrtMemory (*GetInputMemoryType)(const OrtCustomOp*, size_t);
    int (*GetVariadicInputMinArity)(const OrtCustomOp*);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
    OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
    OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
    OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void*);
    int (*GetStartVersion)(const OrtCustomOp*);
    int (*GetEndVersion)(const OrtCustomOp*);
};
