// softmax(q kᵀ · scale) v and the way back through it, float32, no mask, for heads a few numbers wide. For g++'s vectors as wide as
// the processor's: AVX-512 or AVX2.
// Where a head is 4 numbers wide, a general kernel spends its time on everything but arithmetic.
//
// Tensors are [batch, rows, heads, width] with the last two dimensions packed; the steps between pictures and between rows are given.
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

#ifdef __AVX512F__
constexpr int64_t LANES = 16;
#else
constexpr int64_t LANES = 8;
#endif
typedef float Floats __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

inline Floats all(float x) { return x - Floats{}; }
inline Floats& at(float* x) { return *reinterpret_cast<Floats*>(x); }
inline Floats at(const float* x) { return *reinterpret_cast<const Floats*>(x); }

inline float sum_of(Floats x) {
  float sum = 0;
  for (int64_t i = 0; i < LANES; i++) sum += x[i];
  return sum;
}

inline float highest_of(Floats x) {
  float most = x[0];
  for (int64_t i = 1; i < LANES; i++) most = std::max(most, x[i]);
  return most;
}

inline Ints lanes_before(int64_t count) {  // true in the first of the lanes
  Ints lanes;
  for (int64_t i = 0; i < LANES; i++) lanes[i] = static_cast<int32_t>(i);
  return lanes < static_cast<int32_t>(count);
}

inline Floats exponential(Floats x) {  // up to 0, all above is as 0 (lanes behind the last key): 2^n · 2^f, f in [-½, ½] by a polynomial; relative error 2e-6
  x = x > -87.0f ? (x < 0.0f ? x : Floats{}) : all(-87.0f);
  const Floats t = x * 1.44269504f;
  const Ints n = __builtin_convertvector(t - 0.5f, Ints);  // cut towards zero, so the nearest
  const Floats f = t - __builtin_convertvector(n, Floats);
  Floats p = all(1.3333558e-3f);
  for (const float c : {9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f}) p = p * f + c;
  return p * reinterpret_cast<Floats>((n + 127) << 23);
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
inline Floats dot(const Floats* a, const float* b, int64_t padded) {
  Floats sum = a[0] * at(b);
  for (int d = 1; d < D; d++) sum += a[d] * at(b + d * padded);
  return sum;
}

inline Ints last_of(int64_t count) { return lanes_before(count % LANES ? count % LANES : LANES); }

template <int D>
void forward_head(const float* q, int64_t q_step, int64_t queries, const float* k, const float* v, int64_t keys, int64_t padded,
                  float scale, float* out, int64_t out_step, float* logs, float* scores) {
  const Floats low = all(-1e30f);
  const Ints last = last_of(keys);
  for (int64_t i = 0; i < queries; i++) {
    Floats one[D], sums[D], most = low, total = Floats{};
    for (int d = 0; d < D; d++) one[d] = all(q[i * q_step + d] * scale), sums[d] = Floats{};
    for (int64_t j = 0; j < padded; j += LANES) {
      Floats score = dot<D>(one, k + j, padded);
      if (j + LANES >= padded) score = last ? score : low;
      at(scores + j) = score;
      most = most > score ? most : score;
    }
    const float top = highest_of(most);
    for (int64_t j = 0; j < padded; j += LANES) {
      Floats share = exponential(at(scores + j) - top);
      total += share;
      for (int d = 0; d < D; d++) sums[d] += share * at(v + d * padded + j);
    }
    const float whole = sum_of(total);
    for (int d = 0; d < D; d++) out[i * out_step + d] = sum_of(sums[d]) / whole;
    logs[i] = top + std::log(whole);
  }
}

template <int D>
void backward_head(const float* q, int64_t q_step, int64_t queries, const float* k, const float* v, int64_t keys, int64_t padded,
                   float scale, const float* out, int64_t out_step, const float* grad, int64_t grad_step, const float* logs, float* dq,
                   int64_t dq_step, float* dk, float* dv) {
  for (int64_t i = 0; i < queries; i++) {
    Floats one[D], back[D], sums[D];
    float along = 0;  // Σ_j share_j · d(share_j)
    for (int d = 0; d < D; d++) {
      one[d] = all(q[i * q_step + d] * scale), back[d] = all(grad[i * grad_step + d]), sums[d] = Floats{};
      along += grad[i * grad_step + d] * out[i * out_step + d];
    }
    for (int64_t j = 0; j < padded; j += LANES) {
      Floats share = exponential(dot<D>(one, k + j, padded) - logs[i]);
      const Floats score = share * (dot<D>(back, v + j, padded) - along);
      for (int d = 0; d < D; d++) {
        float *dk_at = dk + d * padded + j, *dv_at = dv + d * padded + j;
        sums[d] += score * at(k + d * padded + j);
        at(dk_at) += score * one[d];  // `one` holds the scale already
        at(dv_at) += share * back[d];
      }
    }
    for (int d = 0; d < D; d++) dq[i * dq_step + d] = sum_of(sums[d]) * scale;
  }
}

template <int D>
void forward_all(int threads, int64_t pictures, int64_t heads, int64_t queries, int64_t keys, float scale, const Rows& q, const Rows& k,
                 const Rows& v, const Rows& out, float* logs) {
  const int64_t padded = (keys + LANES - 1) / LANES * LANES;
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
  const int64_t padded = (keys + LANES - 1) / LANES * LANES;
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
