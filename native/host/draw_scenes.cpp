// draw_scenes: display lists of drawn scenes -> pictures, label maps and instance maps. A list is a run of f32 numbers:
// a header, then operations, each its code and its numbers (lib/data/drawn-scenes/display-list.ts writes them).
//   header  pixels a scene unit, u and v of the left upper corner, gains r g b, blur, grain, seed, paper, first label
//   1 object   instance (0 stuff, 255 leaves no label), label
//   2 paint    rgb, second rgb, alpha, pattern, 6 of the pattern's map, sharpness, 3 of the light
//   3 texture  kind, seed, top, bottom, three colours, parameter
//   4 fill     contours, points of each, x y of each point in pixels
#include <algorithm>
#include <cmath>

#include "native/core/thread_pool.h"
#include "native/host/draw_finish.h"
#include "native/host/draw_paint.h"
#include "native/host/host_args.h"

namespace wm {

namespace {

constexpr int kMaxContours = 64, kMaxPoints = 4096, kScenesAChunk = 4, kInstances = 32, kLabels = 64;
constexpr int64_t kMaxBytes = int64_t{1} << 30;

struct Reader {
  const float *at, *end;
  float number() {
    if (at >= end) fail(Status::usage, "display list: it ends in the middle of an operation");
    const float value = *at++;
    if (!(std::fabs(value) < 2e7f)) fail(Status::usage, "display list: %g is not a usable number", double{value});
    return value;
  }
  int whole(const char *name, int low, int high) {
    const float value = number();
    if (!(value >= static_cast<float>(low) && value <= static_cast<float>(high))) {
      fail(Status::usage, "display list: %s must be in %d..%d, got %g", name, low, high, double{value});
    }
    return static_cast<int>(value);
  }
  Rgb rgb() {
    Rgb out;
    for (float &c : out.c) c = number();
    return out;
  }
};

struct Head {
  float scale, u, v;
  Finish finish;
  int label;
};

Head read_head(Reader &in) {
  Head head;
  head.scale = in.number();
  if (!(head.scale >= 0.01f)) fail(Status::usage, "display list: the scale must be at least 0.01");
  head.u = in.number();
  head.v = in.number();
  for (float &g : head.finish.gain) g = in.number();
  head.finish.blur = std::min(std::max(in.number(), 0.0f), 0.25f);
  head.finish.grain = in.number();
  head.finish.seed = static_cast<uint32_t>(in.whole("seed", 0, 1 << 24));
  head.finish.paper = in.whole("paper", 0, 1) != 0;
  head.label = in.whole("label", 0, kLabels - 1);
  return head;
}

// Draws one list; the brush is what fills use: a thing's paint or a texture.
class Painter {
 public:
  Painter(SceneCanvas &canvas, const Head &head) : canvas_(canvas), head_(head) {
    std::fill(canvas.label.begin(), canvas.label.end(), static_cast<uint8_t>(head.label));
  }

  void run(Reader &in) {
    while (in.at < in.end) {
      switch (in.whole("operation", 1, 4)) {
        case 1: begin_object(in); break;
        case 2: read_paint(in); break;
        case 3: read_texture(in); break;
        default: fill(in);
      }
    }
    end_object();
  }

 private:
  void begin_object(Reader &in) {
    end_object();
    instance_ = in.whole("instance", 0, 255);
    if (instance_ >= kInstances && instance_ != 255) fail(Status::usage, "display list: over %d instances", kInstances - 1);
    label_ = in.whole("label", 0, kLabels - 1);
  }

  // Pixels that the object covers by half or more get its label.
  void end_object() {
    for (int y = box_.y0; y < box_.y1; ++y) {
      for (int x = box_.x0; x < box_.x1; ++x) {
        const size_t i = static_cast<size_t>(y) * canvas_.width + x;
        if (canvas_.cover[i] >= 0.5f) {
          canvas_.label[i] = static_cast<uint8_t>(label_);
          canvas_.object[i] = static_cast<uint8_t>(instance_);
        }
        canvas_.cover[i] = 0.0f;
      }
    }
    box_ = {0, 0, 0, 0};
  }

  void read_paint(Reader &in) {
    textured_ = false;
    paint_.colour = in.rgb();
    paint_.second = in.rgb();
    paint_.alpha = in.number();
    paint_.pattern = in.whole("pattern", 0, 2);
    for (float &m : paint_.to_local) m = in.number();
    paint_.sharp = in.number();
    for (float &l : paint_.light) l = in.number();
  }

  void read_texture(Reader &in) {
    textured_ = true;
    texture_.kind = in.whole("texture", 0, 9);
    texture_.seed = static_cast<uint32_t>(in.whole("seed", 0, 1 << 24));
    texture_.top = in.number();
    texture_.bottom = in.number();
    texture_.a = in.rgb();
    texture_.b = in.rgb();
    texture_.c = in.rgb();
    texture_.p = in.number();
    if (texture_.kind == 6 && !(texture_.p > 0.001f)) fail(Status::usage, "display list: bricks need a height");
  }

  void fill(Reader &in) {
    const int contours = in.whole("contours", 1, kMaxContours);
    int counts[kMaxContours], total = 0;
    for (int c = 0; c < contours; ++c) total += counts[c] = in.whole("points", 0, kMaxPoints);
    if (total > kMaxPoints) fail(Status::usage, "display list: %d points in one fill", total);
    points_.resize(static_cast<size_t>(total));
    for (Point &p : points_) {
      p.x = in.number();
      p.y = in.number();
    }
    const PixelBox box = cover_polygon(canvas_, points_.data(), counts, contours);
    if (box.empty()) return;
    part_ = part_ == 255 ? 1 : part_ + 1;
    for (int y = box.y0; y < box.y1; ++y) blend_row(y, box.x0, box.x1);
    if (instance_ == 255 || textured_) return;
    box_ = box_.empty() ? box
                        : PixelBox{std::min(box_.x0, box.x0), std::min(box_.y0, box.y0), std::max(box_.x1, box.x1),
                                   std::max(box_.y1, box.y1)};
  }

  void blend_row(int y, int x0, int x1) {
    const float *cover = canvas_.area.data() + static_cast<size_t>(y) * (canvas_.width + 2);
    while (x0 < x1 && cover[x0] <= 0.0f) ++x0;
    while (x0 < x1 && cover[x1 - 1] <= 0.0f) --x1;
    if (x0 >= x1) return;
    float *out[3] = {canvas_.row[0].data(), canvas_.row[1].data(), canvas_.row[2].data()};
    float *scratch[4] = {canvas_.row[3].data(), canvas_.row[4].data(), canvas_.row[5].data(), canvas_.row[6].data()};
    const int n = x1 - x0;
    const float px = static_cast<float>(x0) + 0.5f, py = static_cast<float>(y) + 0.5f;
    if (textured_) {
      texture_row(texture_, {head_.u + px / head_.scale, 1.0f / head_.scale, head_.v + py / head_.scale, n}, scratch, out);
    } else {
      paint_row(paint_, px, py, n, out);
    }
    const float alpha = textured_ ? 1.0f : paint_.alpha;
    const size_t begin = static_cast<size_t>(y) * canvas_.width + x0;
    for (int c = 0; c < 3; ++c) {
      float *to = canvas_.plane[c].data() + begin;
      for (int i = 0; i < n; ++i) to[i] += (out[c][i] - to[i]) * (cover[x0 + i] * alpha);
    }
    if (instance_ == 255) return;
    if (textured_) {
      // A region of stuff is one fill: its own coverage decides.
      uint8_t *labels = canvas_.label.data() + begin, *objects = canvas_.object.data() + begin;
      const auto label = static_cast<uint8_t>(label_), instance = static_cast<uint8_t>(instance_);
      for (int i = 0; i < n; ++i) {
        const bool inside = cover[x0 + i] >= 0.5f;
        labels[i] = inside ? label : labels[i];
        objects[i] = inside ? instance : objects[i];
      }
    } else {
      float *object = canvas_.cover.data() + begin;
      for (int i = 0; i < n; ++i) object[i] += (1.0f - object[i]) * cover[x0 + i];
    }
    if (!head_.finish.paper) return;
    for (int i = 0; i < n; ++i) {
      if (cover[x0 + i] >= 0.5f) canvas_.part[begin + i] = static_cast<uint8_t>(part_);
    }
  }

  SceneCanvas &canvas_;
  const Head &head_;
  Paint paint_{};
  Texture texture_{};
  bool textured_ = false;
  int instance_ = 255, label_ = 0, part_ = 0;
  PixelBox box_{0, 0, 0, 0};
  std::vector<Point> points_;
};

struct Outputs {
  uint8_t *rgb, *labels, *instances;
  int32_t *boxes, *counts;  // [kInstances, 5] area, x0, y0, x1, y1; [kLabels]
};

void measure(const Outputs &o, SizePair size) {
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const size_t i = static_cast<size_t>(y) * size.width + x;
      ++o.counts[o.labels[i]];
      if (o.instances[i] == 0) continue;
      int32_t *box = o.boxes + 5 * o.instances[i];
      if (box[0]++ == 0) {
        box[1] = box[3] = x;
        box[2] = box[4] = y;
      }
      box[1] = std::min(box[1], x);
      box[3] = std::max(box[3], x + 1);
      box[4] = y + 1;
    }
  }
}

void draw_one(SceneCanvas &canvas, std::vector<uint8_t> &full, Reader in, SizePair drawn, SizePair size, const Outputs &o) {
  canvas.resize(drawn.width, drawn.height);
  const Head head = read_head(in);
  Painter(canvas, head).run(in);
  const size_t n = static_cast<size_t>(size.width) * size.height;
  if (drawn.width == size.width && drawn.height == size.height) {
    finish_scene(canvas, head.finish, o.rgb);
    std::copy(canvas.label.begin(), canvas.label.end(), o.labels);
    std::copy(canvas.object.begin(), canvas.object.end(), o.instances);
  } else {
    full.resize(canvas.label.size() * 3);
    finish_scene(canvas, head.finish, full.data());
    reduce_rgb(full.data(), drawn, o.rgb, size);
    std::vector<int32_t> from(n);
    reduce_labels(canvas.label.data(), drawn, from.data(), size);
    for (size_t i = 0; i < n; ++i) {
      o.labels[i] = canvas.label[from[i]];
      o.instances[i] = canvas.object[from[i]];
    }
  }
  measure(o, size);
}

// lists f32, begins u32 [B + 1]; attrs: drawn width and height, width and height
// -> u8 [B, H, W, 3] pictures, u8 [B, H, W] labels, u8 [B, H, W] instances (0 stuff), i32 [B, 32, 5] area and box of
// each thing, i32 [B, 64] pixels of each label
void draw_scenes(HostCall &call) {
  const SizePair drawn{static_cast<int>(host_int(call, 0, "drawn width", 1, 1 << 14)),
                       static_cast<int>(host_int(call, 1, "drawn height", 1, 1 << 14))};
  const SizePair size{static_cast<int>(host_int(call, 2, "width", 1, drawn.width)),
                      static_cast<int>(host_int(call, 3, "height", 1, drawn.height))};
  const float *lists = host_array<float>(call, 0, "lists", -1);
  const uint32_t *begins = host_array<uint32_t>(call, 1, "begins", -1);
  const int64_t numbers = static_cast<int64_t>(call.inputs[0].count<float>());
  const int64_t scenes = std::max<int64_t>(static_cast<int64_t>(call.inputs[1].count<uint32_t>()) - 1, 0);
  const int64_t pixels = int64_t{size.width} * size.height;
  if (scenes * pixels * 5 > kMaxBytes || int64_t{drawn.width} * drawn.height > int64_t{1} << 26) {
    fail(Status::option, "%lld scenes of %d x %d are over the limit of 1 GiB a call: draw fewer at once",
         static_cast<long long>(scenes), size.width, size.height);
  }
  for (int64_t b = 0; b < scenes; ++b) {
    if (begins[b] > begins[b + 1] || begins[b + 1] > numbers) fail(Status::usage, "begins must rise within the lists");
  }
  call.outputs.reserve(5);
  uint8_t *rgb = host_output<uint8_t>(call, scenes * pixels * 3), *labels = host_output<uint8_t>(call, scenes * pixels);
  uint8_t *instances = host_output<uint8_t>(call, scenes * pixels);
  int32_t *boxes = host_output<int32_t>(call, scenes * kInstances * 5);
  int32_t *counts = host_output<int32_t>(call, scenes * kLabels);
  ThreadPool::instance().run((scenes + kScenesAChunk - 1) / kScenesAChunk, [&](int64_t chunk) {
    host_check_cancelled(call);
    SceneCanvas canvas;
    std::vector<uint8_t> full;
    for (int64_t b = chunk * kScenesAChunk; b < std::min(scenes, (chunk + 1) * kScenesAChunk); ++b) {
      draw_one(canvas, full, {lists + begins[b], lists + begins[b + 1]}, drawn, size,
               {rgb + b * pixels * 3, labels + b * pixels, instances + b * pixels, boxes + b * kInstances * 5,
                counts + b * kLabels});
    }
  });
}

}  // namespace

WM_REGISTER_HOST_OP(draw_scenes, draw_scenes)

}  // namespace wm
