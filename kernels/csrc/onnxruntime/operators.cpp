// INT8 attention as an operator of ONNX Runtime: c2t.Int8Attention, on the threads of the session that runs it.
#include <cmath>
#include <memory>
#include <new>

#include "../attention/attention.h"
#include "api.h"

namespace {

// All that can go wrong comes back as a status: no exception may cross into ONNX Runtime.
#define C2T_RETURN_IF_FAILED(expression) \
    if (OrtStatus* status = (expression)) return status

struct Int8Attention {
    const OrtApi& api;
    const AttentionKernel& kernel;
    int64_t heads;
    float scale;
};

struct FreeAligned {
    void operator()(char* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

OrtStatus* create(const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    int64_t heads = 0, isa = 0;
    float scale = 0.0f;
    C2T_RETURN_IF_FAILED(api->attribute(info, "heads", &heads));
    C2T_RETURN_IF_FAILED(api->attribute(info, "scale", &scale));
    C2T_RETURN_IF_FAILED(api->attribute(info, "isa", &isa));
    if (heads < 1 || !(scale > 0.0f) || !std::isfinite(scale))
        return api->status(kOrtInvalidArgument, "Int8Attention: heads and scale must be positive");
    if (isa < 0 || isa > C2T_AMX || !(c2t_attention_isa_mask() >> isa & 1))
        return api->status(kOrtInvalidArgument, "Int8Attention: this processor lacks the instruction set");
    *kernel = new (std::nothrow) Int8Attention{*api, attention_kernel(static_cast<int32_t>(isa)), heads, scale};
    return *kernel ? nullptr : api->status(kOrtFail, "Int8Attention: out of memory");
}

struct Input {
    const void* data = nullptr;
    size_t rank = 0;
    int64_t sizes[3] = {};
};

OrtStatus* read_input(const OrtApi& api, const OrtKernelContext* context, size_t index, Input* input) {
    const OrtValue* value = nullptr;
    C2T_RETURN_IF_FAILED(api.input(context, index, &value));
    if (!value) return nullptr;  // an optional one that is not there
    OrtTensorTypeAndShapeInfo* info = nullptr;
    C2T_RETURN_IF_FAILED(api.type_and_shape(value, &info));
    OrtStatus* status = api.dimension_count(info, &input->rank);
    if (!status && input->rank <= 3) status = api.dimensions(info, input->sizes, input->rank);
    api.release(info);
    if (status) return status;
    void* data = nullptr;  // the same function serves what is read and what is written
    status = api.data(const_cast<OrtValue*>(value), &data);
    input->data = data;
    return status;
}

// One run: heads are packed first, then tiles of queries are taken in turns.
struct Run {
    const AttentionKernel& kernel;
    c2t_attention_args args;
    PackedSizes sizes;
    int64_t tiles;
    char* memory;

    static void pack(void* data, size_t i) {
        const Run& run = *static_cast<const Run*>(data);
        run.kernel.pack(run.args, i / run.args.heads, i % run.args.heads, run.memory + i * run.stride());
    }
    static void attend(void* data, size_t i) {
        const Run& run = *static_cast<const Run*>(data);
        const int64_t head = i / run.tiles, first = i % run.tiles * run.kernel.query_tile;
        run.kernel.attend(run.args, head / run.args.heads, head % run.args.heads, first, run.memory + head * run.stride());
    }
    int64_t stride() const { return sizes.bytes(); }
};

const char* problem_of(const Input& query, const Input& key, const Input& value, const Input& lengths, int64_t heads) {
    if (query.rank != 3 || key.rank != 3 || value.rank != 3) return "Int8Attention: inputs are [B, rows, columns]";
    const int64_t columns = query.sizes[2];
    if (key.sizes[0] != query.sizes[0] || key.sizes[2] != columns) return "Int8Attention: queries and keys do not fit";
    for (int i = 0; i < 3; ++i)
        if (value.sizes[i] != key.sizes[i]) return "Int8Attention: keys and values do not fit";
    if (columns % heads || columns < heads || columns / heads > kMaxHeadSize) return "Int8Attention: no such head size";
    if (lengths.data && (lengths.rank != 1 || lengths.sizes[0] != query.sizes[0]))
        return "Int8Attention: give one key length per batch row";
    if (lengths.data)
        for (int64_t i = 0; i < query.sizes[0]; ++i) {
            const int64_t length = static_cast<const int64_t*>(lengths.data)[i];
            if (length < 0 || length > key.sizes[1]) return "Int8Attention: a key length is out of range";
        }
    return nullptr;
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
    const Int8Attention& op = *static_cast<const Int8Attention*>(kernel);
    const OrtApi& api = op.api;
    Input query, key, value, lengths;
    Input* inputs[] = {&query, &key, &value, &lengths};
    size_t count = 0;
    C2T_RETURN_IF_FAILED(api.input_count(context, &count));
    for (size_t i = 0; i < count && i < 4; ++i) C2T_RETURN_IF_FAILED(read_input(api, context, i, inputs[i]));
    if (const char* problem = problem_of(query, key, value, lengths, op.heads))
        return api.status(kOrtInvalidArgument, problem);
    OrtValue* result = nullptr;
    void* out = nullptr;
    C2T_RETURN_IF_FAILED(api.output(context, 0, query.sizes, 3, &result));
    C2T_RETURN_IF_FAILED(api.data(result, &out));
    const c2t_attention_args args{static_cast<const float*>(query.data),
                                  static_cast<const float*>(key.data),
                                  static_cast<const float*>(value.data),
                                  static_cast<const int64_t*>(lengths.data),
                                  static_cast<float*>(out),
                                  query.sizes[0],
                                  query.sizes[1],
                                  key.sizes[1],
                                  op.heads,
                                  query.sizes[2] / op.heads,
                                  query.sizes[2],
                                  query.sizes[1] * query.sizes[2],
                                  key.sizes[2],
                                  key.sizes[1] * key.sizes[2],
                                  op.scale};
    const int64_t heads = args.batch * args.heads;
    const int64_t tiles = (args.queries + op.kernel.query_tile - 1) / op.kernel.query_tile;
    if (heads == 0 || tiles == 0) return nullptr;
    const PackedSizes sizes(args, op.kernel.layout);
    const std::unique_ptr<char, FreeAligned> memory(
        static_cast<char*>(::operator new(heads * sizes.bytes(), std::align_val_t{64}, std::nothrow)));
    if (!memory) return api.status(kOrtFail, "Int8Attention: out of memory");
    Run run{op.kernel, args, sizes, tiles, memory.get()};
    C2T_RETURN_IF_FAILED(api.parallel_for(context, Run::pack, heads, heads, &run));
    return api.parallel_for(context, Run::attend, heads * tiles, heads * tiles, &run);
}

const OrtCustomOp kInt8Attention = [] {
    OrtCustomOp op{};
    op.version = kOrtApiVersion;
    op.GetName = [](const OrtCustomOp*) { return "Int8Attention"; };
    op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU
    op.GetInputType = [](const OrtCustomOp*, size_t i) { return i < 3 ? kOrtFloat : kOrtInt64; };
    op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return 4; };
    op.GetOutputType = [](const OrtCustomOp*, size_t) { return kOrtFloat; };
    op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
    op.KernelDestroy = [](void* kernel) { delete static_cast<Int8Attention*>(kernel); };
    op.GetInputCharacteristic = [](const OrtCustomOp*, size_t i) { return i < 3 ? kOrtRequired : kOrtOptional; };
    op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return kOrtRequired; };
    op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return kOrtDefaultMemory; };
    op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
    op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
    op.CreateKernelV2 = create;
    op.KernelComputeV2 = compute;
    return op;
}();

}  // namespace

// Called by ONNX Runtime for the options of a session. The domain lives as long as the library: it is small, and sessions
// that are made from the options refer to it.
extern "C" C2T_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
    const OrtApi* api = base->GetApi(kOrtApiVersion);
    if (!api) return nullptr;  // an older ONNX Runtime, which could not even say what is wrong; its graphs lack the operator
    static OrtCustomOpDomain* const domain = [api]() -> OrtCustomOpDomain* {
        OrtCustomOpDomain* made = nullptr;
        if (api->create_domain("c2t", &made) || api->add_operator(made, &kInt8Attention)) return nullptr;
        return made;
    }();
    if (!domain) return api->status(kOrtFail, "the domain c2t could not be made");
    return api->add_domain(options, domain);
}
