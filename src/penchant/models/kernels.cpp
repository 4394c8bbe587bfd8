// Elementwise passes of a decoder, one sweep over memory each, with a PyTorch twin each in kernels.py; at the end a product.
// Plain C++ without torch's headers: compiled once by the machine's own compiler, called through ctypes, one thread.
// Numbers are read as NUMBER (float or bf16, given at compile time), computed in float32, rounded to nearest even.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>
#define SIMD _Pragma("omp simd")
typedef int64_t I;
struct bf16 { uint16_t bits; };
static inline float get(float x) { return x; }
static inline float get(bf16 x) { uint32_t u = (uint32_t)x.bits << 16; float f; memcpy(&f, &u, 4); return f; }
static inline void put(float& to, float x) { to = x; }
static inline void put(bf16& to, float x) { uint32_t u; memcpy(&u, &x, 4); to.bits = (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16); }
typedef NUMBER T; static inline float rounded(float x) { T t; put(t, x); return get(t); }

// exp by 2^n times a polynomial (Cephes' coefficients), relative error 2e-7; below -87 it is 0.
static inline float fast_exp(float x) {
    float y = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x), n = nearbyintf(y * 1.44269504088896341f);
    float r = y - n * 0.693359375f + n * 2.12194440e-4f, p = 1.9875691500e-4f, scale;
    p = p * r + 1.3981999507e-3f; p = p * r + 8.3334519073e-3f; p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f; p = p * r + 5.0000001201e-1f;
    int32_t bits = ((int32_t)n + 127) << 23; memcpy(&scale, &bits, 4);
    return x < -87.0f ? 0.0f : (p * r * r + r + 1.0f) * scale;
}

extern "C" {
// RMSNorm of x + add (add may be null): sum is x + add, inverse is 1 / rms a row, out = gain * sum * inverse.
void norm(const T* x, const T* add, const T* gain, T* sum, T* out, float* inverse, I rows, I width, float eps) {
    for (I r = 0; r < rows; r++) {
        const T* a = x + r * width; const T* b = add ? add + r * width : nullptr; T* s = sum + r * width; T* o = out + r * width;
        const T* from = b ? s : a; float square = 0;
        if (b) SIMD for (I i = 0; i < width; i++) put(s[i], get(a[i]) + get(b[i]));
#pragma omp simd reduction(+ : square)
        for (I i = 0; i < width; i++) square += get(from[i]) * get(from[i]);
        float scale = inverse[r] = 1.0f / sqrtf(square / width + eps);
        SIMD for (I i = 0; i < width; i++) put(o[i], get(gain[i]) * rounded(get(from[i]) * scale));
    }
}
// d_sum = inverse * (gain * d_out - x^ * mean(gain * d_out * x^)) + d_add, x^ = sum * inverse; d_gain [width] is added to.
void norm_backward(const T* d_out, const T* d_add, const T* sum, const T* gain, const float* inverse, T* d_sum, float* d_gain,
                   I rows, I width) {
    for (I r = 0; r < rows; r++) {
        const T* d = d_out + r * width; const T* s = sum + r * width; T* o = d_sum + r * width;
        const T* e = d_add ? d_add + r * width : nullptr; float scale = inverse[r], dot = 0;
#pragma omp simd reduction(+ : dot)
        for (I i = 0; i < width; i++) { float h = get(s[i]) * scale, g = get(d[i]); d_gain[i] += g * h; dot += g * get(gain[i]) * h; }
        float mean = dot / width;
        SIMD for (I i = 0; i < width; i++) put(o[i], scale * (get(gain[i]) * get(d[i]) - get(s[i]) * scale * mean) + (e ? get(e[i]) : 0.0f));
    }
}

// Heads of flat tokens to their places in padded rows, turned by RoPE: flat [T, stride], heads * width columns of it
// <-> rows [S, heads / group, L, group, width]. Entry n takes token[n] (null: n) to place[n] = s * L + l. cosine null: no
// turn. back: the transpose (each token stands at one place only).
void place_heads(T* flat, T* rows, const float* cosine, const float* sine, const I* token, const I* place,
                 I entries, I stride, I heads, I group, I L, I width, float scale, I back) {
    for (I n = 0, half = width / 2; n < entries; n++) {
        I t = token ? token[n] : n, s = place[n] / L, l = place[n] % L;
        const float* c = cosine ? cosine + t * half : nullptr; const float* z = sine + t * half;
        for (I m = 0; m < heads / group; m++) for (I j = 0; j < group; j++) {
            T* f = flat + t * stride + (m * group + j) * width;
            T* g = rows + (((s * (heads / group) + m) * L + l) * group + j) * width;
            const T* from = back ? g : f; T* to = back ? f : g;
            if (!c) { memcpy(to, from, width * sizeof(T)); continue; }
            float turn = back ? -1.0f : 1.0f;
            SIMD for (I i = 0; i < half; i++) {
                float a = get(from[i]) * scale, b = get(from[i + half]) * scale;
                put(to[i], a * c[i] - turn * b * z[i]); put(to[i + half], b * c[i] + turn * a * z[i]);
            }
        }
    }
}

static inline I seen_from(I to, I window, const I* start, I row) {
    I from = window && to > window ? to - window : 0;
    return start && start[row] > from ? (start[row] < to ? start[row] : to - 1) : from;
}

// Softmax in place of scores [n, queries, keys]: query i stands at key first + i / group and sees the last `window` keys up
// to itself (0: all), none before start[m / groups] (start null: all).
void causal_softmax(T* scores, I n, I queries, I keys, I first, I group, I window, const I* start, I groups) {
    std::vector<float> e(keys);
    for (I m = 0; m < n; m++) for (I i = 0; i < queries; i++) {
        T* row = scores + (m * queries + i) * keys;
        I to = first + i / group + 1, from = seen_from(to, window, start, m / groups);
        float high = -INFINITY, total = 0;
#pragma omp simd reduction(max : high)
        for (I j = from; j < to; j++) { float v = get(row[j]); high = v > high ? v : high; }
#pragma omp simd reduction(+ : total)
        for (I j = from; j < to; j++) { e[j] = fast_exp(get(row[j]) - high); total += e[j]; }
        total = 1.0f / total; SIMD for (I j = from; j < to; j++) put(row[j], e[j] * total);
        memset(row, 0, from * sizeof(T)); memset(row + to, 0, (keys - to) * sizeof(T));
    }
}
// d_scores in place of d_weights: w * (d - sum(w * d)).
void causal_softmax_backward(const T* weights, T* d, I n, I queries, I keys, I first, I group, I window, const I* start, I groups) {
    for (I m = 0; m < n; m++) for (I i = 0; i < queries; i++) {
        const T* w = weights + (m * queries + i) * keys; T* row = d + (m * queries + i) * keys;
        I to = first + i / group + 1, from = seen_from(to, window, start, m / groups);
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (I j = from; j < to; j++) dot += get(w[j]) * get(row[j]);
        SIMD for (I j = from; j < to; j++) put(row[j], get(w[j]) * (get(row[j]) - dot));
        memset(row, 0, from * sizeof(T)); memset(row + to, 0, (keys - to) * sizeof(T));
    }
}

// out = silu(gate) * up, both side by side in both [rows, 2 * width]; its backward makes out again on the way.
void swiglu(const T* both, T* out, I rows, I width) {
    for (I r = 0; r < rows; r++) {
        const T* gate = both + r * 2 * width; const T* up = gate + width; T* o = out + r * width;
        SIMD for (I i = 0; i < width; i++) { float g = get(gate[i]); put(o[i], rounded(g / (1.0f + fast_exp(-g))) * get(up[i])); }
    }
}
void swiglu_backward(const T* d_out, const T* both, T* d_both, T* out, I rows, I width) {
    for (I r = 0; r < rows; r++) {
        const T* gate = both + r * 2 * width; const T* up = gate + width; const T* d = d_out + r * width;
        T* dg = d_both + r * 2 * width; T* du = dg + width; T* o = out + r * width;
        SIMD for (I i = 0; i < width; i++) {
            float g = get(gate[i]), e = 1.0f + fast_exp(-g), s = 1.0f / e, v = get(d[i]), u = get(up[i]);
            put(o[i], rounded(g / e) * u); put(du[i], v * g * s); put(dg[i], v * u * s * (1.0f + g * (1.0f - s)));
        }
    }
}

// Of logits [rows, width] / temperature: log p(label), log of the sum of exponentials, entropy (where asked for).
void log_probs(const T* logits, const I* labels, float inverse_temperature, float* logprob, float* total, float* entropy,
               I rows, I width) {
    for (I r = 0; r < rows; r++) {
        const T* x = logits + r * width; float high = -INFINITY, sum = 0, dot = 0, k = inverse_temperature;
#pragma omp simd reduction(max : high)
        for (I i = 0; i < width; i++) { float v = get(x[i]); high = v > high ? v : high; }
#pragma omp simd reduction(+ : sum, dot)
        for (I i = 0; i < width; i++) { float v = (get(x[i]) - high) * k, e = fast_exp(v); sum += e; dot += e > 0.0f ? e * v : 0.0f; }
        if (entropy) entropy[r] = logf(sum) - dot / sum;
        total[r] = logf(sum) + high * k; logprob[r] = get(x[labels[r]]) * k - total[r];
    }
}
// d_logits in place of logits, from d_logprob and d_entropy: (onehot - p) * d_logprob - p * (log p + H) * d_entropy, over T.
void log_probs_backward(T* logits, const I* labels, float inverse_temperature, const float* total, const float* entropy,
                        const float* d_logprob, const float* d_entropy, I rows, I width) {
    for (I r = 0; r < rows; r++) {
        T* x = logits + r * width; float k = inverse_temperature, z = total[r], a = -d_logprob[r] * k;
        float b = entropy ? d_entropy[r] * k : 0.0f, h = entropy ? entropy[r] : 0.0f;
        auto slope = [=](T y) { float v = get(y) * k - z, p = fast_exp(v); return p > 0.0f ? p * (a - b * (v + h)) : 0.0f; };
        float label = slope(x[labels[r]]) - a;
        SIMD for (I i = 0; i < width; i++) put(x[i], slope(x[i]));
        put(x[labels[r]], label);
    }
}
}

#if defined(__AVX2__) && !defined(__AVX512F__)
#include <immintrin.h>
typedef float V __attribute__((vector_size(32), aligned(4)));
enum { WIDE = 24, BLOCK = 48 };  // outputs whose weights stay in the cache, rows that are worked on at once

// Four rows [in / 8, 4, 8] by three outputs: twelve times eight sums in registers. Of four numbers a row the last is none.
static inline void tile(const float* x, const float* w, float* y, I in, const char* next, I step) {
    V a[4][3] = {};
    for (I k = 0; k < in; k += 8, x += 32, w += 8, next += step) {
        V w0 = *(const V*)w, w1 = *(const V*)(w + in), w2 = *(const V*)(w + 2 * in);
        asm("" : "+x"(w0), "+x"(w1), "+x"(w2));  // or the compiler reads them from memory for each row
        __builtin_prefetch(next, 0, 2);
        for (I r = 0; r < 4; r++) { V v = ((const V*)x)[r]; asm("" : "+x"(v)); a[r][0] += v * w0; a[r][1] += v * w1; a[r][2] += v * w2; }
    }
    for (I r = 0; r < 4; r++) {
        __m256 s = _mm256_hadd_ps(_mm256_hadd_ps((__m256)a[r][0], (__m256)a[r][1]), _mm256_hadd_ps((__m256)a[r][2], (__m256)a[r][2]));
        _mm_storeu_ps(y + r * (WIDE + 8), _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
    }
}

// y [rows, stride], its first out columns, = x [rows, in] W' in float, W [out, in] as it lies; in % 8 is 0, out at least 3.
extern "C" void rows_linear(const float* x, const float* w, float* y, I rows, I in, I out, I stride, I threads) {
    auto part = [=, count = (out + WIDE - 1) / WIDE](I t) {
        std::vector<float> tiles(std::min<I>((rows + 3) / 4 * 4, BLOCK) * in);
        for (I top = 0; top < rows; top += BLOCK) {
            I end = std::min<I>(top + BLOCK, rows), step = WIDE * sizeof(float) / ((end - top + 3) / 4);  // read ahead, a pass
            for (I r = 0; r < end - top; r++) for (I k = 0; k < in; k += 8)
                memcpy(&tiles[(r / 4 * in + k) * 4 + r % 4 * 8], x + (top + r) * in + k, sizeof(V));
            for (I n = count * t / threads * WIDE; n < count * (t + 1) / threads * WIDE; n += WIDE) {
                I last = std::min<I>(n + WIDE, out); const char* next = (const char*)(w + last * in);
                for (I r = top; r < end; r += 4) {
                    float found[4][WIDE + 8];
                    for (I o = n, q; o < last; o += 3, next += in / 8 * step)  // the last three may make some again
                        q = std::min<I>(o, out - 3), tile(&tiles[(r - top) * in], w + q * in, found[0] + 2 + q - n, in, next, step);
                    for (I q = r; q < end && q < r + 4; q++) memcpy(y + q * stride + n, found[q - r] + 2, (last - n) * sizeof(float));
                }
            }
        }
    };
    std::vector<std::thread> others;
    for (I t = 1; t < threads; t++) try { others.emplace_back(part, t); } catch (...) { part(t); }
    part(0); for (auto& other : others) other.join();
}
#endif
