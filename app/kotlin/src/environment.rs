//! The few functions of the Java Native Interface that are needed here.

use std::ffi::CStr;
use std::ptr;

use jni_sys::{
    JNIEnv, jarray, jbyte, jbyteArray, jclass, jdoubleArray, jfloatArray, jintArray, jobject,
    jobjectArray, jsize, jvalue,
};

use crate::failure::{Failure, Kind};

/// The class that makes exceptions, and its function.
const EXCEPTIONS: &CStr = c"autotinybert/Native";
const FACTORY: &CStr = c"failure";
const FACTORY_TYPE: &CStr = c"(I[B[B)Ljava/lang/Throwable;";

/// The environment of a call, on its thread.
#[derive(Clone, Copy)]
pub(crate) struct Environment(*mut JNIEnv);

/// Calls a function of the environment that every virtual machine has.
macro_rules! call {
    ($environment:expr, $version:ident, $function:ident $(, $argument:expr)*) => {
        // SAFETY: `Environment::new` was promised a valid environment of this thread, and the
        // arguments are references and arrays of the same call, as the functions here say.
        unsafe { ((**$environment.0).$version.$function)($environment.0 $(, $argument)*) }
    };
}

impl Environment {
    /// # Safety
    /// The pointer is the one that a native method was called with. It is used in that call only,
    /// and with no object but those that the call was given or that were made in it.
    pub(crate) unsafe fn new(pointer: *mut JNIEnv) -> Self {
        Self(pointer)
    }

    /// The result of a function that gives NULL where it throws.
    fn made(object: jobject) -> Result<jobject, Failure> {
        if object.is_null() { Err(Failure::Thrown) } else { Ok(object) }
    }

    fn thrown(self) -> bool {
        call!(self, v1_2, ExceptionCheck)
    }

    fn length(self, array: jarray) -> usize {
        usize::try_from(call!(self, v1_1, GetArrayLength, array)).unwrap_or(0)
    }

    /// Bytes of an array.
    pub(crate) fn bytes(self, name: &str, array: jbyteArray) -> Result<Vec<u8>, Failure> {
        if array.is_null() {
            return Err(Failure::new(Kind::Argument, format!("`{name}` is null")));
        }
        let mut bytes = vec![0u8; self.length(array)];
        let (length, to) = (jsize_of(bytes.len())?, bytes.as_mut_ptr().cast::<jbyte>());
        // There is room for as many as the array has.
        call!(self, v1_1, GetByteArrayRegion, array, 0, length, to);
        if self.thrown() { Err(Failure::Thrown) } else { Ok(bytes) }
    }

    /// The text in an array of bytes.
    pub(crate) fn text(self, name: &str, array: jbyteArray) -> Result<String, Failure> {
        String::from_utf8(self.bytes(name, array)?)
            .map_err(|_| Failure::new(Kind::Argument, format!("`{name}` is not UTF-8")))
    }

    /// The texts in an array of arrays of bytes.
    pub(crate) fn texts(self, name: &str, array: jobjectArray) -> Result<Vec<String>, Failure> {
        if array.is_null() {
            return Err(Failure::new(Kind::Argument, format!("`{name}` is null")));
        }
        let text = |number: usize| {
            let element = call!(self, v1_1, GetObjectArrayElement, array, jsize_of(number)?);
            let text = self.text(&format!("{name}[{number}]"), element);
            // A call keeps few references at once, however many texts it is given.
            call!(self, v1_1, DeleteLocalRef, element);
            text
        };
        (0..self.length(array)).map(text).collect()
    }

    /// Integers of an array.
    pub(crate) fn integers(self, name: &str, array: jintArray) -> Result<Vec<i32>, Failure> {
        if array.is_null() {
            return Err(Failure::new(Kind::Argument, format!("`{name}` is null")));
        }
        let mut values = vec![0i32; self.length(array)];
        let (length, to) = (jsize_of(values.len())?, values.as_mut_ptr());
        call!(self, v1_1, GetIntArrayRegion, array, 0, length, to);
        if self.thrown() { Err(Failure::Thrown) } else { Ok(values) }
    }

    /// A new array of bytes.
    pub(crate) fn new_bytes(self, bytes: &[u8]) -> Result<jbyteArray, Failure> {
        let length = jsize_of(bytes.len())?;
        let array = Self::made(call!(self, v1_1, NewByteArray, length))?;
        let from = bytes.as_ptr().cast::<jbyte>();
        call!(self, v1_1, SetByteArrayRegion, array, 0, length, from);
        Ok(array)
    }

    /// A new array of arrays of bytes.
    pub(crate) fn new_texts(self, texts: &[String]) -> Result<jobjectArray, Failure> {
        let class: jclass = Self::made(call!(self, v1_1, FindClass, c"[B".as_ptr()))?;
        let length = jsize_of(texts.len())?;
        let array = call!(self, v1_1, NewObjectArray, length, class, ptr::null_mut());
        let array = Self::made(array)?;
        for (number, text) in texts.iter().enumerate() {
            let element = self.new_bytes(text.as_bytes())?;
            call!(self, v1_1, SetObjectArrayElement, array, jsize_of(number)?, element);
            call!(self, v1_1, DeleteLocalRef, element);
        }
        Ok(array)
    }

    /// A new array of numbers.
    pub(crate) fn new_floats(self, values: &[f32]) -> Result<jfloatArray, Failure> {
        let length = jsize_of(values.len())?;
        let array = Self::made(call!(self, v1_1, NewFloatArray, length))?;
        call!(self, v1_1, SetFloatArrayRegion, array, 0, length, values.as_ptr());
        Ok(array)
    }

    /// A new array of numbers.
    pub(crate) fn new_doubles(self, values: &[f64]) -> Result<jdoubleArray, Failure> {
        let length = jsize_of(values.len())?;
        let array = Self::made(call!(self, v1_1, NewDoubleArray, length))?;
        call!(self, v1_1, SetDoubleArrayRegion, array, 0, length, values.as_ptr());
        Ok(array)
    }

    /// Puts a number into the first place of an array.
    pub(crate) fn put_double(self, array: jdoubleArray, value: f64) -> Result<(), Failure> {
        if array.is_null() {
            return Err(Failure::new(Kind::Argument, "there is no array for the result"));
        }
        call!(self, v1_1, SetDoubleArrayRegion, array, 0, 1, &raw const value);
        if self.thrown() { Err(Failure::Thrown) } else { Ok(()) }
    }

    /// Throws the exception that the Kotlin side makes of a failure, unless one is on its way.
    pub(crate) fn throw(self, kind: i32, message: &str, help: Option<&str>) {
        if !self.thrown() {
            // Where this fails, that is thrown instead.
            let _ = self.try_to_throw(kind, message, help);
        }
    }

    fn try_to_throw(self, kind: i32, message: &str, help: Option<&str>) -> Result<(), Failure> {
        let class = Self::made(call!(self, v1_1, FindClass, EXCEPTIONS.as_ptr()))?;
        let (name, signature) = (FACTORY.as_ptr(), FACTORY_TYPE.as_ptr());
        let method = call!(self, v1_1, GetStaticMethodID, class, name, signature);
        if method.is_null() {
            return Err(Failure::Thrown);
        }
        let message = self.new_bytes(message.as_bytes())?;
        let help = help.map(|help| self.new_bytes(help.as_bytes())).transpose()?;
        let arguments = [
            jvalue { i: kind },
            jvalue { l: message },
            jvalue { l: help.unwrap_or(ptr::null_mut()) },
        ];
        // The arguments are those that the signature names.
        let made = call!(self, v1_1, CallStaticObjectMethodA, class, method, arguments.as_ptr());
        if self.thrown() {
            return Err(Failure::Thrown);
        }
        call!(self, v1_1, Throw, Self::made(made)?);
        Ok(())
    }
}

/// A length as the virtual machine has it.
fn jsize_of(length: usize) -> Result<jsize, Failure> {
    let too_long =
        |_| Failure::new(Kind::Argument, format!("{length} values are too many at once"));
    jsize::try_from(length).map_err(too_long)
}
