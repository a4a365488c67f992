//! Weight tensors as they lie in a file.

use half::f16;

use crate::onnx::{DataType, TensorProto};
use crate::tensor::TensorSpec;
use crate::weights::{WeightError, Weights};

/// What of a weight tensor a tensor of the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The values, f32.
    Values,
    /// The values, f16.
    Halves,
    /// The steps, i8, of a matrix whose rows or columns have a scale each.
    Steps(Scaled),
    /// Those scales, f32: a value is its step times its scale.
    Scales(Scaled),
}

/// What of a matrix has one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// Each row; the scales are a matrix of one column.
    Rows,
    /// Each column; the scales are a vector.
    Columns,
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) spec: TensorSpec,
    pub(crate) form: Form,
}

impl Stored {
    /// Its name in the file.
    pub(crate) fn name(&self) -> String {
        match self.form {
            Form::Values | Form::Halves | Form::Steps(_) => self.spec.name.clone(),
            Form::Scales(_) => format!("{}.scale", self.spec.name),
        }
    }

    fn dims(&self) -> Vec<usize> {
        match self.form {
            Form::Values | Form::Halves | Form::Steps(_) => self.spec.shape.clone(),
            Form::Scales(Scaled::Rows) => vec![self.spec.shape[0], 1],
            Form::Scales(Scaled::Columns) => vec![self.spec.shape[1]],
        }
    }

    fn data_type(&self) -> DataType {
        match self.form {
            Form::Steps(_) => DataType::Int8,
            Form::Halves => DataType::Float16,
            Form::Values | Form::Scales(_) => DataType::Float,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let of_one = match self.form {
            Form::Steps(_) => 1,
            Form::Halves => 2,
            Form::Values | Form::Scales(_) => size_of::<f32>(),
        };
        self.dims().iter().product::<usize>() * of_one
    }

    /// The tensor without its values.
    pub(crate) fn proto(&self) -> TensorProto {
        TensorProto {
            dims: self.dims().into_iter().map(|size| size as i64).collect(),
            data_type: self.data_type() as i32,
            name: self.name(),
            ..TensorProto::default()
        }
    }

    /// Its bytes, little-endian.
    ///
    /// # Errors
    /// [`WeightError`] if `weights` lacks the tensor.
    pub(crate) fn encode(&self, weights: &dyn Weights) -> Result<Vec<u8>, WeightError> {
        let mut values = vec![0.0; self.spec.elements()];
        weights.fill(&self.spec, &mut values)?;
        let floats = |values: &[f32]| values.iter().flat_map(|it| it.to_le_bytes()).collect();
        Ok(match self.form {
            Form::Values => floats(&values),
            Form::Halves => halves(&self.spec.name, &values)?,
            Form::Steps(scaled) => steps(&values, self.spec.shape[1], scaled),
            Form::Scales(scaled) => floats(&scales(&values, self.spec.shape[1], scaled)),
        })
    }
}

/// Each value as the nearest of f16.
fn halves(name: &str, values: &[f32]) -> Result<Vec<u8>, WeightError> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for &value in values {
        let half = f16::from_f32(value);
        // What is no number in f32 is for the writer of the model to refuse.
        if half.is_infinite() && value.is_finite() {
            return Err(WeightError::Large { name: name.to_owned(), value });
        }
        bytes.extend(half.to_le_bytes());
    }
    Ok(bytes)
}

/// The scale of each row or column of a matrix: its largest value is 127 steps.
fn scales(values: &[f32], columns: usize, scaled: Scaled) -> Vec<f32> {
    let rows = values.chunks_exact(columns);
    let mut largest = match scaled {
        Scaled::Rows => {
            rows.map(|row| row.iter().fold(0f32, |most, it| most.max(it.abs()))).collect()
        }
        Scaled::Columns => {
            let mut largest = vec![0f32; columns];
            for row in rows {
                largest.iter_mut().zip(row).for_each(|(most, it)| *most = most.max(it.abs()));
            }
            largest
        }
    };
    for scale in &mut largest {
        // What is all zero stays so, whatever its scale.
        *scale = if *scale > 0.0 { *scale / 127.0 } else { 1.0 };
    }
    largest
}

fn steps(values: &[f32], columns: usize, scaled: Scaled) -> Vec<u8> {
    let scales = scales(values, columns, scaled);
    let mut steps = Vec::with_capacity(values.len());
    for (row, values) in values.chunks_exact(columns).enumerate() {
        for (column, value) in values.iter().enumerate() {
            let scale = match scaled {
                Scaled::Rows => scales[row],
                Scaled::Columns => scales[column],
            };
            // The cast saturates.
            steps.push(((value / scale).round() as i8).cast_unsigned());
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f32; 6] = [1.27, -0.5, 0.0, -2.54, 0.25, 0.0];

    #[test]
    fn rows_and_columns_have_scales_of_their_own() {
        let close = |a: Vec<f32>, b: &[f32]| {
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-7), "{a:?} {b:?}");
        };
        close(scales(&VALUES, 3, Scaled::Rows), &[0.01, 0.02]);
        close(scales(&VALUES, 3, Scaled::Columns), &[0.02, 0.5 / 127.0, 1.0]);
        let signed = |scaled| -> Vec<i8> {
            steps(&VALUES, 3, scaled).into_iter().map(u8::cast_signed).collect()
        };
        assert_eq!(signed(Scaled::Rows), [127, -50, 0, -127, 13, 0]);
        assert_eq!(signed(Scaled::Columns), [64, -127, 0, -127, 64, 0]);
    }

    #[test]
    fn halves_are_the_nearest_ones_and_never_infinite() {
        let bytes = halves("w", &VALUES).expect("small");
        for (bytes, value) in bytes.as_chunks::<2>().0.iter().zip(VALUES) {
            let half = f16::from_le_bytes(*bytes).to_f32();
            assert!((half - value).abs() <= value.abs() / 2048.0, "{half} for {value}");
        }
        let error = halves("w", &[1.0, -7e4]).expect_err("too large").to_string();
        assert_eq!(error, "tensor `w` holds -70000, and the largest number of f16 is 65504");
    }

    #[test]
    fn steps_that_were_rounded_before_stay_as_they_are() {
        let rounded: Vec<f32> = (0..254).map(|step| (step - 127) as f32 * 0.003).collect();
        let again = steps(&rounded, 254, Scaled::Rows);
        assert!(again.iter().zip(-127i8..).all(|(step, expected)| step.cast_signed() == expected));
    }
}
