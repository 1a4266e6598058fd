//! The lab suite: see [`biglock_verify::lab`], which has the tests and says how to run one again.

use biglock_verify::lab;

macro_rules! tests {
    ($($module:ident { $($name:ident $seeds:literal,)* })*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                let name = concat!(stringify!($module), "::", stringify!($name));
                super::lab::run(super::lab::find(name).expect("it is in the list"));
            })*
        })*
    };
}

biglock_verify::lab_suite!(tests);
