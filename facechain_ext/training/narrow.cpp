// softmax(q kᵀ · scale) v and the way back through it, float32, no mask, for heads a few numbers wide. AVX-512.
// Where a head is 4 numbers wide, a general kernel spends its time on everything but arithmetic.
//
// Tensors are [batch, rows, heads, width] with the last two dimensions packed; the steps between pictures and between rows are given.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace {

struct Rows {  // what the caller knows of a tensor
  float* data;
  int64_t picture, row;  // steps in floats
};

struct Room {  // scratch memory, aligned for whole registers
  float* at;
  explicit Room(int64_t floats) : at(static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64))) {}
  ~Room() { std::free(at); }
};

inline __m512 exponential(__m512 x) {  // 2^n · 2^f, f in [-½, ½] by a polynomial; relative error 2e-6
  x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
  const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
  const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(t, n);
  __m512 p = _mm512_set1_ps(1.3333558e-3f);
  for (const float c : {9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f}) p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

// rows [count, D] of one head → D arrays of `padded` numbers, zeros behind the last
template <int D>
void turn(const float* x, int64_t step, int64_t count, int64_t padded, float* out) {
  for (int d = 0; d < D; d++) {
    for (int64_t j = 0; j < count; j++) out[d * padded + j] = x[j * step + d];
    std::fill(out + d * padded + count, out + (d + 1) * padded, 0.0f);
  }
}

template <int D>
inline __m512 dot(const __m512* a, const float* b, int64_t padded) {
  __m512 sum = _mm512_mul_ps(a[0], _mm512_load_ps(b));
  for (int d = 1; d < D; d++) sum = _mm512_fmadd_ps(a[d], _mm512_load_ps(b + d * padded), sum);
  return sum;
}

inline __mmask16 last_of(int64_t count) { return count % 16 ? (1 << (count % 16)) - 1 : 0xffff; }

template <int D>
void forward_head(const float* q, int64_t q_step, int64_t queries, const float* k, const float* v, int64_t keys, int64_t padded,
                  float scale, float* out, int64_t out_step, float* logs, float* scores) {
  const __m512 low = _mm512_set1_ps(-1e30f);
  const __mmask16 last = last_of(keys);
  for (int64_t i = 0; i < queries; i++) {
    __m512 one[D], sums[D], most = low, total = _mm512_setzero_ps();
    for (int d = 0; d < D; d++) one[d] = _mm512_set1_ps(q[i * q_step + d] * scale), sums[d] = _mm512_setzero_ps();
    for (int64_t j = 0; j < padded; j += 16) {
      __m512 score = dot<D>(one, k + j, padded);
      if (j + 16 >= padded) score = _mm512_mask_mov_ps(low, last, score);
      _mm512_store_ps(scores + j, score);
      most = _mm512_max_ps(most, score);
    }
    const float top = _mm512_reduce_max_ps(most);
    for (int64_t j = 0; j < padded; j += 16) {
      __m512 share = exponential(_mm512_sub_ps(_mm512_load_ps(scores + j), _mm512_set1_ps(top)));
      if (j + 16 >= padded) share = _mm512_maskz_mov_ps(last, share);
      total = _mm512_add_ps(total, share);
      for (int d = 0; d < D; d++) sums[d] = _mm512_fmadd_ps(share, _mm512_load_ps(v + d * padded + j), sums[d]);
    }
    const float whole = _mm512_reduce_add_ps(total);
    for (int d = 0; d < D; d++) out[i * out_step + d] = _mm512_reduce_add_ps(sums[d]) / whole;
    logs[i] = top + std::log(whole);
  }
}

template <int D>
void backward_head(const float* q, int64_t q_step, int64_t queries, const float* k, const float* v, int64_t keys, int64_t padded,
                   float scale, const float* out, int64_t out_step, const float* grad, int64_t grad_step, const float* logs, float* dq,
                   int64_t dq_step, float* dk, float* dv) {
  const __mmask16 last = last_of(keys);
  for (int64_t i = 0; i < queries; i++) {
    __m512 one[D], back[D], sums[D];
    float along = 0;  // Σ_j share_j · d(share_j)
    for (int d = 0; d < D; d++) {
      one[d] = _mm512_set1_ps(q[i * q_step + d] * scale), back[d] = _mm512_set1_ps(grad[i * grad_step + d]), sums[d] = _mm512_setzero_ps();
      along += grad[i * grad_step + d] * out[i * out_step + d];
    }
    for (int64_t j = 0; j < padded; j += 16) {
      __m512 share = exponential(_mm512_sub_ps(dot<D>(one, k + j, padded), _mm512_set1_ps(logs[i])));
      if (j + 16 >= padded) share = _mm512_maskz_mov_ps(last, share);
      const __m512 score = _mm512_mul_ps(share, _mm512_sub_ps(dot<D>(back, v + j, padded), _mm512_set1_ps(along)));
      for (int d = 0; d < D; d++) {
        float *dk_at = dk + d * padded + j, *dv_at = dv + d * padded + j;
        sums[d] = _mm512_fmadd_ps(score, _mm512_load_ps(k + d * padded + j), sums[d]);
        _mm512_store_ps(dk_at, _mm512_fmadd_ps(score, one[d], _mm512_load_ps(dk_at)));  // `one` holds the scale already
        _mm512_store_ps(dv_at, _mm512_fmadd_ps(share, back[d], _mm512_load_ps(dv_at)));
      }
    }
    for (int d = 0; d < D; d++) dq[i * dq_step + d] = _mm512_reduce_add_ps(sums[d]) * scale;
  }
}

template <int D>
void forward_all(int threads, int64_t pictures, int64_t heads, int64_t queries, int64_t keys, float scale, const Rows& q, const Rows& k,
                 const Rows& v, const Rows& out, float* logs) {
  const int64_t padded = (keys + 15) / 16 * 16;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < pictures; b++) {
    Room room(padded * (2 * D + 1));
    float *k_turned = room.at, *v_turned = room.at + D * padded, *scores = room.at + 2 * D * padded;
    for (int64_t h = 0; h < heads; h++) {
      turn<D>(k.data + b * k.picture + h * D, k.row, keys, padded, k_turned);
      turn<D>(v.data + b * v.picture + h * D, v.row, keys, padded, v_turned);
      forward_head<D>(q.data + b * q.picture + h * D, q.row, queries, k_turned, v_turned, keys, padded, scale,
                      out.data + b * out.picture + h * D, out.row, logs + (b * heads + h) * queries, scores);
    }
  }
}

template <int D>
void backward_all(int threads, int64_t pictures, int64_t heads, int64_t queries, int64_t keys, float scale, const Rows& q, const Rows& k,
                  const Rows& v, const Rows& out, const Rows& grad, const Rows& dq, const Rows& dk, const Rows& dv, const float* logs) {
  const int64_t padded = (keys + 15) / 16 * 16;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < pictures; b++) {
    Room room(padded * 4 * D);
    float *k_turned = room.at, *v_turned = k_turned + D * padded, *dk_turned = v_turned + D * padded, *dv_turned = dk_turned + D * padded;
    for (int64_t h = 0; h < heads; h++) {
      turn<D>(k.data + b * k.picture + h * D, k.row, keys, padded, k_turned);
      turn<D>(v.data + b * v.picture + h * D, v.row, keys, padded, v_turned);
      std::fill(dk_turned, dk_turned + 2 * D * padded, 0.0f);
      backward_head<D>(q.data + b * q.picture + h * D, q.row, queries, k_turned, v_turned, keys, padded, scale,
                       out.data + b * out.picture + h * D, out.row, grad.data + b * grad.picture + h * D, grad.row,
                       logs + (b * heads + h) * queries, dq.data + b * dq.picture + h * D, dq.row, dk_turned, dv_turned);
      for (int64_t j = 0; j < keys; j++)
        for (int d = 0; d < D; d++) {
          dk.data[b * dk.picture + h * D + j * dk.row + d] = dk_turned[d * padded + j];
          dv.data[b * dv.picture + h * D + j * dv.row + d] = dv_turned[d * padded + j];
        }
    }
  }
}

}  // namespace

#define BY_WIDTH(F) (width == 4 ? F<4> : width == 8 ? F<8> : F<12>)

extern "C" void narrow_forward(int threads, int64_t width, int64_t pictures, int64_t heads, int64_t queries, int64_t keys, float scale,
                               Rows q, Rows k, Rows v, Rows out, float* logs) {
  BY_WIDTH(forward_all)(threads, pictures, heads, queries, keys, scale, q, k, v, out, logs);
}

extern "C" void narrow_backward(int threads, int64_t width, int64_t pictures, int64_t heads, int64_t queries, int64_t keys, float scale,
                                Rows q, Rows k, Rows v, Rows out, Rows grad, Rows dq, Rows dk, Rows dv, const float* logs) {
  BY_WIDTH(backward_all)(threads, pictures, heads, queries, keys, scale, q, k, v, out, grad, dq, dk, dv, logs);
}
